"""One line an epoch, on stderr."""

import logging
import time

from qat_train.run import EpochRecord, Evaluation

logger = logging.getLogger(__name__)


def _number(point: Evaluation | None) -> str:
    return f"{point.map50_95:.4f}" if point else "-"


class EpochReporter:
    """Reports finished epochs with the time left, judged by the epochs of this process."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._seen = 0

    def __call__(self, record: EpochRecord, epochs: int) -> None:
        """Log one line."""
        self._seen += 1
        left = (time.monotonic() - self._started) / self._seen * (epochs - record.epoch)
        logger.info(
            "epoch %d/%d  mAP50-95 raw %s  ema %s  %.1f s  about %d s left",
            record.epoch,
            epochs,
            _number(record.raw),
            _number(record.ema),
            record.seconds,
            round(left),
        )
