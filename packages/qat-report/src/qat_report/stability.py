"""Stability class of a series of evaluations. Pure: no file, no clock, no state.

Every rule reads the whole series. FP32 and PTQ are references beside the series, never points of it.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from statistics import mean
from typing import Annotated, Literal, get_args

import attrs
from cattrs import override

from qat_report.numbers import count
from qat_report.records import Event, unit_interval

Stage = Literal["qat", "qc"]
StabilityClass = Literal["diverged", "collapsed", "no-signal", "frozen-metric", "insufficient", "recovered", "stable"]

CLASSES: tuple[StabilityClass, ...] = get_args(StabilityClass)  # worst first

COLLAPSE_RATIO = 0.5
SIGNAL_RATIO = 0.05  # of FP32
WINDOW = 3  # evaluations; also the length of a frozen tail
RAMP_RATIO = 0.25  # a best below this share of the run's best is still the ramp
ENOUGH_EVALUATIONS = 5

FAULTS = frozenset({"nan-loss", "nan-weights"})  # kinds of events


@attrs.frozen(kw_only=True)
class Point:
    """One evaluation of a series. `value` in [0, 1]; None where the evaluation gave no finite number.

    `weights_sha256` names the weights that were evaluated, where known. Stage "qc" is the point after correction,
    whatever its stages.
    """

    epoch: int
    value: float | None = attrs.field(validator=unit_interval)
    weights_sha256: str | None = None
    stage: Stage = "qat"


@attrs.frozen(kw_only=True)
class Classification:
    """The verdict on one series.

    `findings` are the classes that apply, worst first, empty for a stable series; `reasons` says why, one sentence
    each. `collapsed` is the collapse rule alone, and False only where the series shows that it did not collapse: a
    best of 0, a missing last value or missing evaluations that could hide a collapse leave it True.
    """

    stability_class: Annotated[StabilityClass, override(rename="class")]
    collapsed: bool
    best_value: float | None
    best_epoch: int | None
    final_value: float | None
    evaluations: int
    findings: tuple[StabilityClass, ...]
    reasons: tuple[str, ...]
    not_checked: tuple[str, ...]

    @property
    def final_over_best(self) -> float | None:
        """In [0, 1]; None where there is no final value or the best is 0."""
        if self.final_value is None or not self.best_value:
            return None
        return self.final_value / self.best_value


def classify(
    points: Sequence[Point],
    *,
    fp32: float | None = None,
    ptq: float | None = None,
    events: Sequence[Event] = (),
    rounded: bool = False,
) -> Classification:
    """Decide the stability class of a whole series.

    Args:
        points: evaluations with strictly increasing epochs.
        fp32: metric of the floating-point model, same evaluator, in [0, 1].
        ptq: metric of the quantized model before training, in [0, 1].
        events: in the order they happened; kinds nan-loss, nan-weights and rollback matter here.
        rounded: values come from a file that rounds them, so equal values prove nothing.

    Raises:
        ValueError: epochs do not increase.
    """
    epochs = [point.epoch for point in points]
    if any(later <= earlier for earlier, later in pairwise(epochs)):
        raise ValueError(f"epochs must increase strictly, found {epochs}")
    known = [(point.value, point.epoch) for point in points if point.value is not None]
    best, best_epoch = max(known, key=lambda item: item[0], default=(None, None))
    found: dict[StabilityClass, str | None] = {
        "diverged": _diverged(points, events),
        "collapsed": _collapsed([value for value, _ in known], ends=bool(points) and points[-1].value is not None),
        "no-signal": _no_signal(best, fp32, ptq),
        "frozen-metric": None if rounded else _frozen(points),
        "insufficient": _insufficient(len(known)),
        "recovered": _recovered(points, events),
    }
    findings = tuple(name for name, reason in found.items() if reason)
    return Classification(
        stability_class=findings[0] if findings else "stable",
        collapsed=not _shown_uncollapsed(points, best),
        best_value=best,
        best_epoch=best_epoch,
        final_value=points[-1].value if points else None,
        evaluations=len(known),
        findings=findings,
        reasons=tuple(reason for reason in found.values() if reason),
        not_checked=_not_checked(points, fp32, ptq, rounded),
    )


def _last_fault(points: Sequence[Point], events: Sequence[Event]) -> tuple[Event | None, bool]:
    """The last NaN/Inf of loss or weights, and whether a rollback or a later finite evaluation of QAT repaired it."""
    at = max((i for i, event in enumerate(events) if event.kind in FAULTS), default=None)
    if at is None:
        return None, False
    fault = events[at]
    rolled_back = any(event.kind == "rollback" for event in events[at + 1 :])
    later = any(p.epoch > fault.epoch and p.value is not None and p.stage == "qat" for p in points)
    return fault, rolled_back or later


def _diverged(points: Sequence[Point], events: Sequence[Event]) -> str | None:
    if points and points[-1].value is None:
        return f"the last evaluation (epoch {points[-1].epoch}) has no finite value"
    fault, repaired = _last_fault(points, events)
    if fault is not None and not repaired:
        return f"{fault.kind} at epoch {fault.epoch} was not repaired"
    return None


def _recovered(points: Sequence[Point], events: Sequence[Event]) -> str | None:
    rollbacks = sum(event.kind == "rollback" for event in events)
    if rollbacks:
        return f"{count(rollbacks, 'rollback')} after NaN or Inf"
    fault, repaired = _last_fault(points, events)
    if fault is not None and repaired:
        return f"{fault.kind} at epoch {fault.epoch}, finite again later"
    missing = next((i for i, point in enumerate(points) if point.value is None), len(points))
    if any(point.value is not None for point in points[missing:]):
        return f"epoch {points[missing].epoch} has no finite value, later ones have"
    return None


def _windows(values: Sequence[float]) -> list[tuple[int, float, float]]:
    """(start, mean, best before) of every window that starts after a best which is no longer the ramp."""
    top = max(values, default=0.0)
    bests = list(accumulate(values, max))
    starts = (i for i in range(1, len(values) - WINDOW + 1) if bests[i - 1] >= RAMP_RATIO * top)
    return [(i, mean(values[i : i + WINDOW]), bests[i - 1]) for i in starts]


def _collapsed(values: Sequence[float], *, ends: bool) -> str | None:
    """Final < 0.5 x best; or a window of 3 evaluations whose mean is < 0.5 x the best before it."""
    best = max(values, default=0.0)
    if ends and values[-1] < COLLAPSE_RATIO * best:
        return f"final {values[-1]:.4f} is below {COLLAPSE_RATIO} x best {best:.4f}"
    for start, average, before in _windows(values):
        if average < COLLAPSE_RATIO * before:
            last = start + WINDOW
            return f"evaluations {start + 1} to {last} average {average:.4f}, below {COLLAPSE_RATIO} x {before:.4f}"
    return None


def _shown_uncollapsed(points: Sequence[Point], best: float | None) -> bool:
    """Whether the rule holds off even if every missing evaluation had its lowest possible value, 0."""
    if not best or points[-1].value is None:
        return False
    return _collapsed([point.value or 0.0 for point in points], ends=True) is None


def _no_signal(best: float | None, fp32: float | None, ptq: float | None) -> str | None:
    if best is None:
        return None
    if best <= 0.0:
        return "best is 0"
    if fp32 and best <= SIGNAL_RATIO * fp32:
        return f"best {best:.4f} is at most {SIGNAL_RATIO:.0%} of FP32 {fp32:.4f}"
    if fp32 and ptq is not None and ptq < COLLAPSE_RATIO * fp32 and best <= ptq:
        return f"best {best:.4f} is not above PTQ {ptq:.4f}, itself below {COLLAPSE_RATIO} x FP32 {fp32:.4f}"
    return None


def _frozen(points: Sequence[Point]) -> str | None:
    tail = points[-WINDOW:]
    values = {point.value for point in tail}
    hashes = {point.weights_sha256 for point in tail}
    if len(tail) < WINDOW or len(values) > 1 or None in hashes or len(hashes) < WINDOW or not tail[0].value:
        return None
    return f"the last {WINDOW} values are identical ({tail[0].value}) although the weights changed"


def _insufficient(evaluations: int) -> str | None:
    if evaluations >= ENOUGH_EVALUATIONS:
        return None
    return f"{count(evaluations, 'evaluation')}, at least {ENOUGH_EVALUATIONS} are needed"


def _not_checked(points: Sequence[Point], fp32: float | None, ptq: float | None, rounded: bool) -> tuple[str, ...]:
    skipped = []
    if not fp32:
        skipped.append("no-signal: no FP32 reference above 0 is known")
    elif ptq is None:
        skipped.append("no-signal: no PTQ reference is known, checked against FP32 alone")
    if rounded:
        skipped.append("frozen-metric: values are rounded and the evaluated weights are unknown")
    elif any(point.weights_sha256 is None for point in points[-WINDOW:] if point.value is not None):
        skipped.append("frozen-metric: the evaluated weights are unknown")
    return tuple(skipped)
