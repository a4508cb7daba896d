"""`attribution.n|s`: which part of a gain is averaging, which fresh statistics, which the correction itself."""

from invoke import Collection

from qat_ladder.tasks.ladder import rung

_ROWS = "baseline,bn,ema,ema+bn,ema+qc,ema+bn+qc,qc"  # one trajectory


def collection() -> Collection:
    """`attribution.n`, `attribution.s`."""
    found = Collection("attribution")
    for letter in "ns":
        text = (
            f"What makes yolov10{letter} better: averaging, fresh batch norm statistics, or the correction?\n\n"
            f"The task ladder.{letter} with --methods {_ROWS}: seven rows of one training run per seed.\n\n"
            f"Example: invoke attribution.{letter} --seeds 0,1,2 --coco-root path/to/coco"
        )
        found.add_task(rung(f"yolo10{letter}", letter, text, _ROWS))
    return found
