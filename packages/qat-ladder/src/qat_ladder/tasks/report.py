"""`report`: the comparison of a run root, anew."""

from pathlib import Path
from typing import Any

from qat_artifacts import Exit
from qat_ladder.tasks.frame import guard, help_of, task


@task(help=help_of("root"))
def report(_context: Any, root: str = "runs/ladder") -> None:
    """Write the comparison of a run root anew and print it."""

    def run() -> int:
        from qat_ladder.layout import Root
        from qat_ladder.stage import compare

        print(compare(Root(Path(root))))
        return Exit.OK

    guard(run)
