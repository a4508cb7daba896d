"""`gate.m`: may yolov10m start?"""

from pathlib import Path
from typing import Any

from invoke import Collection

from qat_ladder.tasks.frame import guard, help_of, project, task


@task(
    help=help_of("root") | {"dry-run": "Say what would be looked at and stop.", "set": "gate.policy=FILE"},
    iterable=["set"],
)
def m(_context: Any, root: str = "runs/ladder", dry_run: bool = False, set: Any = None) -> None:
    """Decide whether yolov10m may start; exit 0 is GO, 4 is NO-GO.

    Example: invoke gate.m --root runs/ladder
    """

    def run() -> int:
        from qat_ladder.gating import run_gate
        from qat_ladder.layout import Root

        return run_gate(Root(Path(root)), project(), tuple(set or ()), dry_run=dry_run)

    guard(run)


def collection() -> Collection:
    """`gate.m`."""
    return Collection("gate", m)
