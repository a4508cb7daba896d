"""`doctor`: what this machine lacks."""

from typing import Any

from qat_ladder.tasks.frame import flags_among, guard, help_of, request, task


@task(
    help=help_of(
        *("root", "profile", "coco-root", "checkpoint", "device", "config", "set"),
        json="One JSON document.",
        variant="yolo10n, yolo10s or yolo10m.",
    ),
    iterable=["config", "set"],
)
def doctor(  # noqa: PLR0917  # invoke makes a flag of every parameter
    _context: Any,
    variant: str = "yolo10n",
    root: str = "runs/ladder",
    profile: str = "",
    coco_root: str = "",
    checkpoint: str = "",
    device: str = "",
    config: Any = None,
    set: Any = None,
    json: bool = False,
) -> None:
    """Say what a ladder would miss on this machine, and the remedy; exit 7 if anything.

    Example: invoke doctor --coco-root path/to/coco --checkpoint yolov10n.pt
    """
    flags = flags_among(locals())

    def run() -> int:
        from qat_ladder.doctor import examine
        from qat_ladder.doctor import report as tell

        asked = request(variant, **flags)
        return tell(
            examine(asked.resolve("baseline").config, asked.root, made=asked.demo_pretrained().absolute()), as_json=json
        )

    guard(run)
