"""`doctor`: what this machine lacks."""

from typing import Any

from qat_ladder.tasks.frame import guard, help_of, request, task


@task(
    help=help_of(
        *("root", "coco-root", "checkpoint", "device"),
        json="One JSON document.",
        variant="yolo10n, yolo10s or yolo10m.",
    )
)
def doctor(  # noqa: PLR0917  # invoke makes a flag of every parameter
    _context: Any,
    variant: str = "yolo10n",
    root: str = "runs/ladder",
    coco_root: str = "",
    checkpoint: str = "",
    device: str = "",
    json: bool = False,
) -> None:
    """Say what a ladder would miss on this machine, and the remedy; exit 7 if anything."""

    def run() -> int:
        from qat_ladder.doctor import examine
        from qat_ladder.doctor import report as tell

        asked = request(variant, root=root, coco_root=coco_root, checkpoint=checkpoint, device=device)
        return tell(examine(asked.resolve("baseline").config, asked.root), as_json=json)

    guard(run)
