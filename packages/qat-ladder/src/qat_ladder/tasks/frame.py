"""The frame of every task: help of the flags, exit codes, and the request that flags make.

Flags are strings that are checked here, so that a wrong one exits 2.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from invoke import task as _task

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.errors import LadderError

if TYPE_CHECKING:
    from qat_ladder.flags import Request

task: Callable[..., Callable[[Any], Any]] = _task  # invoke publishes no types

HELP = {
    "seeds": "Seeds of the training runs, separated by commas.",
    "methods": "Rows of the comparison; names of files in configs/methods, or patterns such as 'learned*'.",
    "profile": "tiny, demo, smoke, short or full; demo without --coco-root, smoke with it.",
    "coco-root": "A folder in COCO2017 layout or a YOLO data.yaml; drawn data without it.",
    "checkpoint": "Starting weights, a .pt file of Ultralytics.",
    "trust-checkpoint": "sha256:HEX of a .pt file whose code may run, where it is refused otherwise.",
    "device": "cpu, auto, a CUDA index, or several for each run, such as 0,1.",
    "executor": "Where runs are trained: local (the default), slurm or ray.",
    "jobs": "Runs trained at once; one per slot without it, with slurm and ray all of them.",
    "slots": "Devices with commas between them, one run on each at a time: 0,1 or cpu,cpu; 0+1,2+3 for runs of two.",
    "root": "Run root; one root holds one plan, later calls extend it.",
    "resume": "auto continues what was cut off, never starts over, must takes no cell that the root's plan lacks.",
    "keep-going": "Go on with other cells after a fault that all may share.",
    "stop-doomed": "End a training run whose evaluations have fallen; without the flag it goes on again.",
    "plain": "Lines instead of the live table, as where stderr is no terminal.",
    "trajectory": "shared: one run per seed gives all rows; separate: a run per row.",
    "dry-run": "Print plan, cells with their state, and estimate; start and write nothing.",
    "config": "A TOML file of keys; may be repeated.",
    "set": "section.key=value; may be repeated.",
}
_OF_A_REQUEST = frozenset(name.replace("-", "_") for name in HELP)


def help_of(*names: str, **own: str) -> dict[str, str]:
    """Help of the flags that a task shares with others, and of its own ones."""
    return {name: HELP[name] for name in names} | own


def guard(body: Callable[[], int], *, resumes: bool = False) -> None:
    """Run a task's body under the exit codes of the project; of one that `resumes`, an end by a signal says so."""

    def guarded() -> int:
        try:
            return body()
        except LadderError as error:
            print(f"error: {qat_artifacts.printable(str(error))}", file=sys.stderr)
            return error.code

    failures: dict[type[Exception], Exit] = {qat_artifacts.ArtifactError: Exit.INPUT, OSError: Exit.ENVIRONMENT}
    code = qat_artifacts.run_command(guarded, failures)
    if resumes and code in (Exit.INTERRUPTED, Exit.TERMINATED):
        print("interrupted: the same command goes on after the last finished epoch", file=sys.stderr)
    sys.exit(code)


def flags_among(local: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a request among a task's local names."""
    return {name: value for name, value in local.items() if name in _OF_A_REQUEST}


def project() -> Path:
    """The folder that holds configs/, as whoever loads the tasks says in `qat_ladder.tasks.PROJECT`."""
    from qat_ladder import tasks

    return tasks.PROJECT


def request(variant: str, **flags: Any) -> "Request":
    """The request that a task's flags make; absent ones have the defaults of the ladder.

    Raises:
        ConfigError: a flag is not what it may be.
    """
    from qat_ladder.flags import Request, choice, expand_methods, parse_methods, parse_seeds

    return Request(
        variant=variant,
        project=project(),
        seeds=parse_seeds(flags.get("seeds", "0")),
        methods=expand_methods(parse_methods(flags.get("methods", "baseline")), project()),
        profile=flags.get("profile", ""),
        coco_root=flags.get("coco_root", ""),
        checkpoint=flags.get("checkpoint", ""),
        trust_checkpoint=flags.get("trust_checkpoint", ""),
        device=flags.get("device", ""),
        executor=flags.get("executor", ""),
        jobs=flags.get("jobs", ""),
        slots=flags.get("slots", ""),
        root=Path(flags.get("root", "runs/ladder")),
        resume=choice("--resume", flags.get("resume", "auto"), ("auto", "never", "must")),
        trajectory=cast(Any, choice("--trajectory", flags.get("trajectory", "shared"), ("shared", "separate"))),
        dry_run=flags.get("dry_run", False),
        keep_going=flags.get("keep_going", False),
        stop_doomed=flags.get("stop_doomed", False),
        plain=flags.get("plain", False),
        config=tuple(flags.get("config") or ()),
        settings=tuple(flags.get("set") or ()),
    )
