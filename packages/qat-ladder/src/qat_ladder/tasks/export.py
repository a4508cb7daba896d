"""`export.n|s|m`: the 4-bit files of a row."""

from pathlib import Path
from typing import Any

from invoke import Collection

from qat_ladder.tasks.frame import guard, help_of, task


def _export(letter: str) -> Any:
    own = help_of(
        *("root", "trust-checkpoint"),
        method="Row of the comparison.",
        seed="Seed of the row.",
        out="Folder of the files; beside the row's summary without.",
        benchmark="Measure latency, FP32 against INT4, too.",
    )

    @task(help=own, name=letter)
    def body(  # noqa: PLR0917  # invoke makes a flag of every parameter
        _context: Any,
        root: str = "runs/ladder",
        method: str = "ema+qc",
        seed: str = "0",
        out: str = "",
        benchmark: bool = False,
        trust_checkpoint: str = "",
    ) -> None:
        def run() -> int:
            from qat_ladder.exporting import parse_seed, run_export
            from qat_ladder.layout import Root

            return run_export(
                Root(Path(root)),
                f"yolo10{letter}",
                method=method,
                seed=parse_seed(seed),
                out=Path(out) if out else None,
                benchmark=benchmark,
                trust=trust_checkpoint,
            )

        guard(run)

    body.__doc__ = (
        f"Write a trained yolov10{letter} as packed int4 and as INT4 ONNX, and prove that both compute the same.\n\n"
        f"Example: invoke export.{letter} --root runs/ladder --method ema+qc --seed 0"
    )
    return body


def collection() -> Collection:
    """`export.n`, `export.s`, `export.m`."""
    return Collection("export", *map(_export, "nsm"))
