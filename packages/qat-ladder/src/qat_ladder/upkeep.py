"""Tasks for those who work on the repository: its checks, and what is generated."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke import Collection
from invoke import task as _task

from qat_artifacts import Exit

task: Callable[..., Callable[[Any], Any]] = _task  # invoke publishes no types
CHECKS = {
    "lint": ("Style, formatting, and who may import whom.", ("lint",)),
    "types": ("Strict mypy over every package and the tasks.", ("types",)),
    "test": ("Tests of each package alone, then of all together.", ("tests", "contracts")),
}


def collections(guard: Callable[[Callable[[], int]], None], project: Path) -> list[Any]:
    """`docs.schemas`, and `check.lint`, `check.types`, `check.test`, which run the sessions of noxfile.py.

    Args:
        guard: runs a body under the exit codes of the project.
        project: the repository.
    """

    @task
    def schemas(_context: Any) -> None:
        """Generate docs/schemas from the classes of the artifacts."""

        def run() -> int:
            from qat_ladder.schemas import write_schemas

            print("\n".join(str(path) for path in write_schemas(project / "docs" / "schemas")))
            return Exit.OK

        guard(run)

    docs, check = Collection("docs"), Collection("check")
    docs.add_task(schemas)
    for name, (text, sessions) in CHECKS.items():
        check.add_task(_session(name, text, sessions, guard, project))
    return [docs, check]


def _session(
    name: str, text: str, sessions: tuple[str, ...], guard: Callable[[Callable[[], int]], None], project: Path
) -> Any:
    def body(_context: Any) -> None:
        def run() -> int:
            command = [sys.executable, "-m", "nox", "--sessions", *sessions]
            return subprocess.run(command, cwd=project, check=False).returncode

        guard(run)

    body.__doc__ = f"{text}\n\nExample: invoke check.{name}"
    return task(name=name)(body)
