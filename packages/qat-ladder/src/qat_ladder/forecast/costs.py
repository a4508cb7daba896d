"""The arithmetic of a forecast: jobs, their sum, and when they end on so many GPUs."""

import heapq
from collections.abc import Iterable, Sequence

import attrs

# Bytes of one set of fp32 weights with its buffers: two for a run (raw and averaged), one for each correction.
_WEIGHTS = {"yolo10n": 10.9e6, "yolo10s": 32.4e6, "yolo10m": 66.7e6}
_RECORDS = 0.5e6  # of a run: metrics, log, summaries
# An epoch of Quantization Correction and its two evaluations, in epochs of the training run with its evaluations:
# no gradients of weights, no optimizer over them. Median of 28 corrections (0.4 to 1.1) beside the runs on CPUs of
# docs/results/campaign.md: qc.json's seconds over run.json's per epoch.
CORRECTION = 0.6


def bytes_of(variant: str, *, corrections: int, trained: bool = False) -> float:
    """Disk that a run and its corrections fill in the end; of a run that is trained already, its corrections alone."""
    weights = _WEIGHTS[variant]
    return weights * corrections + (0.0 if trained else 2 * weights + _RECORDS)


@attrs.frozen(kw_only=True)
class Job:
    """One training run with its corrections, on one GPU from its start to its end.

    Attributes:
        variant, arm, seed: which run.
        rows: methods that it gives.
        epochs: of training.
        corrections: epochs of all corrections that hang on it.
        epoch: seconds of one epoch of training, evaluations of all series included.
        lone_epoch: the same for a run that evaluates one series, as one that gives a single row would.
        start: seconds of a process until its first step: imports, data, weights. A correction that hangs on the run
            is a process too.
        corrected: how many corrections hang on it.
        references: seconds of the evaluations before training, in the one run that makes them for all of its variant.
    """

    variant: str
    arm: str
    seed: int
    rows: tuple[str, ...]
    epochs: int
    corrections: int
    epoch: float
    lone_epoch: float
    start: float
    corrected: int = 0
    references: float = 0.0

    @property
    def seconds(self) -> float:
        """On its GPU. Summaries and pages, a second or two each on a CPU, are not in it."""
        starts = self.start * (1 + self.corrected) + self.references
        return starts + self.epoch * (self.epochs + CORRECTION * self.corrections)

    @property
    def alone(self) -> float:
        """Seconds if every row had a training run of its own: what sharing it saves is the difference."""
        runs = len(self.rows) * (self.start + self.lone_epoch * self.epochs)
        corrections = self.start * self.corrected + self.epoch * CORRECTION * self.corrections
        return self.references + runs + corrections

    def stopped_after(self, epochs: int) -> float:
        """Seconds that are saved if the run is stopped as doomed after so many epochs, corrections and all."""
        return self.seconds - self.start - self.references - self.epoch * min(epochs, self.epochs)


def finish(jobs: Sequence[Job], gpus: int) -> float:
    """Seconds on the wall until all jobs are done: each GPU that is free takes the next one, in the order given."""
    free = [0.0] * gpus
    for job in jobs:
        heapq.heappush(free, heapq.heappop(free) + job.seconds)
    return max(free)


def stages(jobs: Iterable[Job], gated: str) -> tuple[list[Job], list[Job]]:
    """Jobs that may start at once, and those of the variant that waits for the gate's word on all of them."""
    found = list(jobs)
    return [job for job in found if job.variant != gated], [job for job in found if job.variant == gated]
