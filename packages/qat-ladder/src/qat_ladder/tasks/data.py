"""`data.prepare` and `data.check`."""

from pathlib import Path
from typing import Any

from invoke import Collection

from qat_artifacts import Exit
from qat_ladder.tasks.frame import guard, help_of, request, task


@task(help=help_of("coco-root", "profile", "config", "set", out="The new folder."), iterable=["config", "set"])
def prepare(
    _context: Any,
    out: str,
    coco_root: str = "",
    profile: str = "",
    config: Any = None,
    set: Any = None,
) -> None:
    """Prepare the data of a configuration in a folder of its own."""
    flags = {"coco_root": coco_root, "profile": profile, "config": config, "set": set}

    def run() -> int:
        _no_flag("data.prepare", out)
        from qat_ladder.dataset import DEMO, draw, prepare_arguments
        from qat_ladder.launch import call

        resolved = request("yolo10n", **flags).resolve("baseline").config
        source = draw(Path(f"{out}-drawn"), DEMO) if resolved.demo else Path(resolved.data.coco_root)
        print(call("qat-data", "prepare", *prepare_arguments(resolved, source), "--out", out).strip())
        return Exit.OK

    guard(run)


@task(help={"path": "A prepared folder, a COCO root or a data.yaml."})
def check(_context: Any, path: str) -> None:
    """Check a data set; exit 3 if it cannot be used."""

    def run() -> int:
        _no_flag("data.check", path)
        from qat_ladder.launch import call

        print(call("qat-data", "check", path).strip())
        return Exit.OK

    guard(run)


def _no_flag(task_name: str, path: str) -> None:
    """Refuse `--help` and its like: invoke takes them for the argument that a task needs."""
    from qat_ladder.errors import ConfigError

    if path.startswith("-"):
        raise ConfigError(f"{path} is no folder; `invoke --help {task_name}` prints the help, ./{path} names a folder")


def collection() -> Collection:
    """`data.prepare`, `data.check`."""
    return Collection("data", prepare, check)
