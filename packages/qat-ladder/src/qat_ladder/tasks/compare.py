"""`compare.peers`: the same training under the quantizers of other libraries."""

from invoke import Collection

from qat_ladder.tasks.ladder import ROWS, rung

_PEERS = f"{ROWS},peer-*"


def collection() -> Collection:
    """`compare.peers`."""
    text = (
        "Train yolov10n under the quantizers of other libraries, and compare them with ours.\n\n"
        f"The task ladder.n with --methods '{_PEERS}': every file configs/methods/peer-*.toml is a row.\n\n"
        "Example: invoke compare.peers --seeds 0,1,2 --coco-root path/to/coco"
    )
    return Collection("compare", rung("yolo10n", "peers", text, _PEERS))
