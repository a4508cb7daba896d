"""How long a ladder will take: a rough guess before the first epoch, a measured one after it."""

import os
import re
import shutil

from qat_ladder.config import Config
from qat_ladder.launch import EPOCH, say

# One yolov10n training step at 160 pixels on two CPU threads, per image, measured on the drawn data.
_SECONDS_PER_IMAGE = 0.025
_COST = {"yolo10n": 1.0, "yolo10s": 3.2, "yolo10m": 8.8}  # by the FLOPs Ultralytics publishes
START_UP = 30.0  # seconds a training run takes beside its epochs: imports, references, corrections, summaries
_VALIDATION = 0.35  # of a training step, per image and series


def work(config: Config, train_images: int, val_images: int, series: int) -> float:
    """What one epoch costs, in training steps of yolov10n on one image at 160 pixels; unknown variants count as n."""
    one = (config.training.imgsz / 160) ** 2 * _COST.get(config.model.variant, 1.0)
    return one * (train_images + _VALIDATION * series * val_images)


def uses_gpu(config: Config) -> bool:
    """Whether a run of this configuration would train on a GPU here."""
    return config.training.first_device != "cpu" and shutil.which("nvidia-smi") is not None


def seconds_per_epoch(config: Config, train_images: int, val_images: int, series: int) -> float | None:
    """Guess for one epoch on the CPU; None where a GPU will be used, whose speed is unknown before its first epoch."""
    if uses_gpu(config):
        return None
    threads = config.training.threads or os.cpu_count() or 1
    return _SECONDS_PER_IMAGE * 2 / threads * work(config, train_images, val_images, series)


def spell(seconds: float) -> str:
    """`2 h 05 min`, `12 min`, `40 s`."""
    total = round(seconds)
    if total >= 3600:
        return f"{total // 3600} h {total % 3600 // 60:02d} min"
    return f"{total // 60} min" if total >= 120 else f"{total} s"


class Clock:
    """Refreshes the estimate of the whole ladder after the first epoch of each run."""

    def __init__(self, runs: int, at_once: int = 1) -> None:
        self._left, self._at_once = runs, at_once

    def watch(self, line: str) -> None:
        """Read an epoch line; say what is left once its speed is known."""
        found = re.match(EPOCH + r".*?  ([\d.]+) s  about", line)
        if found and found[1] == "1":
            left = float(found[3]) * (int(found[2]) * self._left - 1) / min(self._at_once, max(self._left, 1))
            say(f"estimate: about {spell(left)} of training and validation left, {self._left} runs not finished")

    def finished(self) -> None:
        """One run is done."""
        self._left -= 1
