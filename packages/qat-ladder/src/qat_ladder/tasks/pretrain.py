"""`pretrain.n|s|m`: floating-point weights."""

from pathlib import Path
from typing import Any

from invoke import Collection

from qat_ladder.tasks.frame import flags_among, guard, help_of, request, task


def _pretrain(letter: str) -> Any:
    own = help_of(
        *("profile", "coco-root", "trust-checkpoint", "device", "root", "resume", "config", "set"),
        out="Copy the weights to this file.",
        checkpoint="Start from it; from scratch without.",
    )

    @task(help=own, iterable=["config", "set"], name=letter)
    def body(  # noqa: PLR0917  # invoke makes a flag of every parameter
        _context: Any,
        out: str = "",
        profile: str = "",
        coco_root: str = "",
        checkpoint: str = "",
        trust_checkpoint: str = "",
        device: str = "",
        root: str = "runs/pretrain",
        resume: str = "auto",
        config: Any = None,
        set: Any = None,
    ) -> None:
        flags = flags_among(locals())

        def run() -> int:
            from qat_ladder.pretraining import run_pretrain

            return run_pretrain(request(f"yolo10{letter}", **flags), Path(out) if out else None)

        guard(run)

    body.__doc__ = f"""Train floating-point weights of yolov10{letter}.

Example: invoke pretrain.{letter} --coco-root path/to/data --out my-yolov10{letter}.pt"""
    return body


def collection() -> Collection:
    """`pretrain.n`, `pretrain.s`, `pretrain.m`."""
    return Collection("pretrain", *map(_pretrain, "nsm"))
