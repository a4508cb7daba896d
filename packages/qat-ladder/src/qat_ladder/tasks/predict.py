"""`predict.n|s|m`: detections with an exported row."""

from pathlib import Path
from typing import Any

from invoke import Collection

from qat_ladder.tasks.frame import guard, help_of, task


def _predict(letter: str) -> Any:
    own = help_of(
        *("root", "trust-checkpoint"),
        image="A file; may be repeated.",
        method="Row of the comparison.",
        seed="Seed of the row.",
        out="Folder for pictures of both sides.",
        conf="Lowest score, from 0 to 1.",
        against="Another FP32 checkpoint, a .pt file, than the one that the row's run started from.",
    )

    @task(help=own, iterable=["image"], name=letter)
    def body(  # noqa: PLR0917  # invoke makes a flag of every parameter
        _context: Any,
        image: Any = None,
        root: str = "runs/ladder",
        method: str = "ema+qc",
        seed: str = "0",
        out: str = "",
        conf: str = "0.25",
        against: str = "",
        trust_checkpoint: str = "",
    ) -> None:
        def run() -> int:
            from qat_ladder.exporting import parse_confidence, parse_seed, run_predict
            from qat_ladder.layout import Root

            return run_predict(
                Root(Path(root)),
                f"yolo10{letter}",
                method=method,
                seed=parse_seed(seed),
                images=list(image or ()),
                out=Path(out) if out else None,
                confidence=parse_confidence(conf),
                against=Path(against) if against else None,
                trust=trust_checkpoint,
            )

        guard(run)

    body.__doc__ = (
        f"Detect objects in images with an exported yolov10{letter}, and with the FP32 one that it came from.\n\n"
        f"Example: invoke predict.{letter} --image photo.jpg --method ema+qc --seed 0"
    )
    return body


def collection() -> Collection:
    """`predict.n`, `predict.s`, `predict.m`."""
    return Collection("predict", *map(_predict, "nsm"))
