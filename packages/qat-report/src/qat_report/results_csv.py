"""A method's row as a results.csv that reads like the one Ultralytics writes, with unrounded values."""

from collections.abc import Sequence
from itertools import accumulate

from qat_report.epochs import EpochView
from qat_report.series import PRIMARY_METRIC
from qat_report.views import EvaluationPoint, SeriesName

_METRICS = ("metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", PRIMARY_METRIC)


def results_csv(epochs: Sequence[EpochView], series: SeriesName, after: EvaluationPoint | None) -> str:
    """CSV text: epoch, seconds since the start, mean training losses, metrics of one series.

    A value that is not finite is `nan`. After a correction there is one more row, with neither time nor losses.
    """
    losses = sorted({name for epoch in epochs for name in epoch.loss})
    rows = [["epoch", "time", *(f"train/{name}_loss" for name in losses), *_METRICS]]
    for epoch, seconds in zip(epochs, accumulate(epoch.seconds for epoch in epochs), strict=True):
        values = [_text(epoch.loss[name]) if name in epoch.loss else "" for name in losses]
        rows.append([str(epoch.epoch), repr(seconds), *values, *_metrics(epoch.point(series))])
    if after is not None:
        rows.append([str(len(epochs) + 1), "", *("" for _ in losses), *_metrics(after)])
    return "".join(",".join(row) + "\n" for row in rows)


def _metrics(point: EvaluationPoint | None) -> list[str]:
    if point is None:
        return ["nan"] * len(_METRICS)
    return [repr(value) for value in (point.precision, point.recall, point.map50, point.map50_95)]


def _text(value: float | None) -> str:
    return "nan" if value is None else repr(value)
