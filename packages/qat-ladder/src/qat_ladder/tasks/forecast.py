"""`ladder.plan`: what a whole ladder will cost."""

from pathlib import Path
from typing import Any

from qat_artifacts import Exit
from qat_ladder.tasks.frame import flags_among, guard, help_of, request, task

_LETTERS = {"n": "yolo10n", "s": "yolo10s", "m": "yolo10m"}


@task(
    help=help_of(
        "seeds",
        "methods",
        "profile",
        "coco-root",
        "checkpoint",
        "trust-checkpoint",
        "device",
        "root",
        "trajectory",
        "config",
        "set",
        variants="Rungs, separated by commas: n, s, m.",
        gpus="How many GPUs work at once.",
        images="Training and validation images, such as 118287,5000, for data that are not here.",
        pace="A file of `qat-train pace`, perhaps from another machine; may be repeated.",
        measure="Steps of each training run to measure here; prepares data and weights in the root.",
        json="One JSON document.",
    ),
    iterable=["config", "set", "pace"],
    name="plan",
)
def plan(  # noqa: PLR0917  # invoke makes a flag of every parameter
    _context: Any,
    variants: str = "n,s,m",
    seeds: str = "0,1",
    methods: str = "baseline,ema,ema+qc",
    profile: str = "",
    coco_root: str = "",
    checkpoint: str = "",
    trust_checkpoint: str = "",
    device: str = "",
    root: str = "runs/ladder",
    trajectory: str = "shared",
    gpus: str = "1",
    images: str = "",
    measure: str = "0",
    json: bool = False,
    config: Any = None,
    set: Any = None,
    pace: Any = None,
) -> None:
    """Cells, GPU-hours, disk and wall time of a ladder, and what shared trajectories and early stops save.

    Example: invoke ladder.plan --gpus 8 --profile full --images 118287,5000 --coco-root path/to/coco --measure 20
    """
    flags = flags_among(locals())

    def run() -> int:
        from qat_ladder.flags import choice
        from qat_ladder.forecast.forecasting import Asked, as_json, as_text, forecast, parse_images, parse_positive

        letters = [choice("--variants", part.strip(), _LETTERS) for part in variants.split(",")]
        told = forecast(
            Asked(
                requests=tuple(request(_LETTERS[letter], **flags) for letter in dict.fromkeys(letters)),
                gpus=parse_positive("--gpus", gpus),
                images=parse_images(images),
                paces=tuple(Path(name) for name in pace or ()),
                measure=0 if measure == "0" else parse_positive("--measure", measure),
            )
        )
        print(as_json(told) if json else as_text(told))
        return Exit.OK

    guard(run)
