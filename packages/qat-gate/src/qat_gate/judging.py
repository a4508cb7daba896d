"""The stability classes of a run, derived again from its history.

The gate keeps its own implementation of the rules: a verdict is checked by other code than wrote it. A contract test
holds the two together (design section 4 has the rules; qat-report documents their reasons).
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

from qat_gate.summaries import Fault, RunSummary

HALF = 0.5  # a final value, or a stretch of evaluations, below this share of the best before it is a collapse
RAMP = 0.25  # a best below this share of the run's best belongs to the ramp
STRETCH = 3  # evaluations; also of a frozen tail
SIGNAL = 0.05  # of FP32
ENOUGH = 5  # evaluations

_NAN = ("nan-loss", "nan-weights")


def derive_findings(run: RunSummary) -> tuple[Fault, ...]:
    """Every class that applies, worst first; empty for a stable series."""
    values = [point.value for point in run.metrics.history]
    checks: dict[Fault, bool] = {
        "diverged": _ends_without_value(values) or _unrepaired(run),
        "collapsed": collapses([v for v in values if v is not None], ends=not _ends_without_value(values)),
        "no-signal": _has_no_signal(run),
        "frozen-metric": _is_frozen(run),
        "insufficient": sum(v is not None for v in values) < ENOUGH,
        "recovered": _recovered(run),
    }
    return tuple(name for name, applies in checks.items() if applies)


def shown_not_collapsed(run: RunSummary) -> bool:
    """Whether the collapse rule holds off even if every missing evaluation had been 0."""
    values = [point.value for point in run.metrics.history]
    if _ends_without_value(values) or not any(values):
        return False
    return not collapses([v or 0.0 for v in values], ends=True)


def collapses(values: Sequence[float], *, ends: bool) -> bool:
    """Final < 0.5 x best; or 3 evaluations in a row average < 0.5 x the best before them, if that left the ramp."""
    top = max(values, default=0.0)
    if ends and values and values[-1] < HALF * top:
        return True
    for start in range(1, len(values) - STRETCH + 1):
        before = max(values[:start])
        if before >= RAMP * top and fmean(values[start : start + STRETCH]) < HALF * before:
            return True
    return False


def _ends_without_value(values: Sequence[float | None]) -> bool:
    return bool(values) and values[-1] is None


def _last_fault(run: RunSummary) -> tuple[int, bool] | None:
    """Epoch of the last NaN or Inf, and whether it was repaired; None where there was none."""
    events = run.stability.events
    places = [i for i, event in enumerate(events) if event.kind in _NAN]
    if not places:
        return None
    epoch = events[places[-1]].epoch
    rolled_back = any(event.kind == "rollback" for event in events[places[-1] + 1 :])
    later = any(p.epoch > epoch and p.value is not None and p.stage == "qat" for p in run.metrics.history)
    return epoch, rolled_back or later


def _unrepaired(run: RunSummary) -> bool:
    fault = _last_fault(run)
    return fault is not None and not fault[1]


def _recovered(run: RunSummary) -> bool:
    fault = _last_fault(run)
    values = [point.value for point in run.metrics.history]
    gap = any(earlier is None and later is not None for earlier, later in pairwise(values))
    return gap or (fault is not None and fault[1]) or any(e.kind == "rollback" for e in run.stability.events)


def _has_no_signal(run: RunSummary) -> bool:
    best = max((p.value for p in run.metrics.history if p.value is not None), default=None)
    fp32, ptq = run.metrics.fp32, run.metrics.ptq
    if best is None:
        return False
    if best <= 0.0:
        return True
    if not fp32:
        return False
    return best <= SIGNAL * fp32 or (ptq is not None and ptq < HALF * fp32 and best <= ptq)


def _is_frozen(run: RunSummary) -> bool:
    tail = run.metrics.history[-STRETCH:]
    hashes = {point.weights_sha256 for point in tail}
    same = len({point.value for point in tail}) == 1
    return len(tail) == STRETCH and same and bool(tail[0].value) and None not in hashes and len(hashes) == STRETCH
