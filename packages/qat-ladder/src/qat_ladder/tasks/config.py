"""`config.show`: what a configuration resolves to."""

from typing import Any

from invoke import Collection

from qat_artifacts import Exit
from qat_ladder.tasks.frame import flags_among, guard, help_of, request, task


@task(
    help=help_of(
        *("profile", "coco-root", "checkpoint", "trust-checkpoint", "device", "config", "set"),
        variant="yolo10n, yolo10s or yolo10m.",
        method="Name of a file in configs/methods.",
    ),
    iterable=["config", "set"],
)
def show(  # noqa: PLR0917  # invoke makes a flag of every parameter
    _context: Any,
    variant: str = "yolo10n",
    method: str = "baseline",
    profile: str = "",
    coco_root: str = "",
    checkpoint: str = "",
    trust_checkpoint: str = "",
    device: str = "",
    config: Any = None,
    set: Any = None,
) -> None:
    """Print the resolved configuration and where each key comes from."""
    flags = flags_among(locals())

    def run() -> int:
        from qat_ladder.compose import render

        print(render(request(variant, **flags).resolve(method)))
        return Exit.OK

    guard(run)


def collection() -> Collection:
    """`config.show`."""
    return Collection("config", show)
