"""Signs of a collapse: each looks at the lines of a run up to an epoch, and says in a text why it stands there.

What the limits rest on: docs/results/early-warning.md, runs that were made to collapse and runs that were not, and 30
series of docs/results (three detectors, three data sets, raw and averaged, none collapsed).
- metric-fall: those series never fall more than 6.7 % below the best evaluation before; the limit is three times that.
  At five times the usual learning rate raw weights dip below it for an epoch and recover: one alarm proves nothing yet.
- switch-share: at most 3.3 % of the codes switch at each step of a run whose raw weights stay stable, 0.8 % at the
  usual learning rate; 3.9 % and more where they collapse, at or before the collapse. One detector, mostly at 4 bits:
  elsewhere the limit is a guess. Averaged weights may hold under it.
- scale-drift: learned scales move by 0.05 % in an epoch at most, and by 4.9 % in the first of the run that they ruined;
  those that follow their weights by 0.04 % at most, in two runs (docs/results/campaign.md, `following`).
- switch-rate, loss-rise: stay within 1.1 of their median and 1.05 of their lowest in stable runs, but were silent in
  every collapse on record. They are left for collapses of another kind, and nothing is claimed for them.
The drift of batch norm statistics is recorded and is no sign: it grows in healthy and in collapsing runs alike.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal

from qat_report.epochs import EpochView
from qat_report.stability import FAULTS, SIGNAL_RATIO
from qat_report.views import SeriesName

Sign = Literal["not-finite", "metric-fall", "switch-share", "scale-drift", "switch-rate", "loss-rise"]

FALL = 0.8  # of the best evaluation before
SWITCHED = 0.035  # of all tracked codes, at each step
DRIFT = 0.02  # of its scale, by the median layer, in one epoch
SWITCHES = 1.5  # times the median of the epochs before
SETTLED = 3  # epochs before a switch rate has a median to be held against; the first one, at warm-up, is none of them
LOSS = 1.5  # times the lowest of the epochs before


def values_of(epochs: Sequence[EpochView], series: SeriesName) -> list[float | None]:
    """mAP50-95 of a series by epoch; None where an evaluation gave no number."""
    points = [epoch.point(series) for epoch in epochs]
    return [None if point is None else point.map50_95 for point in points]


def _not_finite(seen: Sequence[EpochView], series: SeriesName, _: float | None) -> str | None:
    now = seen[-1]
    lost = [f"{name} loss" for name, value in now.loss.items() if value is None]
    lost += [event.kind for event in now.events if event.kind in FAULTS]
    lost += [f"{series} evaluation"] if now.point(series) is None else []
    return f"not finite: {', '.join(lost)}" if lost else None


def _metric_fall(seen: Sequence[EpochView], series: SeriesName, fp32: float | None) -> str | None:
    *before, last = values_of(seen, series)
    best = max((value for value in before if value is not None), default=0.0)
    if last is None or best <= SIGNAL_RATIO * (fp32 or 0.0) or last >= FALL * best:
        return None
    return f"{last:.4f}, below {FALL} x the best before, {best:.4f}"


def _switch_share(seen: Sequence[EpochView], _: SeriesName, __: float | None) -> str | None:
    """So many codes change at each step that the next step's gradient is that of another network."""
    share = switch_share(seen)
    if share is None or share < SWITCHED:
        return None
    return f"{share:.1%} of all codes switch at each step"


def switch_share(seen: Sequence[EpochView]) -> float | None:
    """Share of the tracked codes that switched per step of the last epoch; None where steps or weights are unknown."""
    last, before = seen[-1], seen[-2].steps if len(seen) > 1 else 0
    if last.oscillation is None or last.steps is None or before is None:
        return None
    weights, steps = last.oscillation.total.weights, last.steps - before
    return last.oscillation.total.switches / weights / steps if weights and steps > 0 else None


def _scale_drift(seen: Sequence[EpochView], _: SeriesName, __: float | None) -> str | None:
    """A learned scale that leaves moves every code of its layer at once."""
    drift = seen[-1].drift
    moved = drift.scale_since_before if drift else None
    if moved is None or moved.median < DRIFT:
        return None
    return f"scales moved by {moved.median:.1%} in one epoch in the median layer, by {moved.max:.1%} in one"


def _switch_rate(seen: Sequence[EpochView], _: SeriesName, __: float | None) -> str | None:
    """Codes switch in proportion to the learning rate while weights settle; more than that is another motion."""
    rates = [rate for epoch in seen[1:] if (rate := switch_rate(epoch)) is not None]
    if len(rates) <= SETTLED or switch_rate(seen[-1]) is None:
        return None
    usual = median(rates[:-1])
    if usual <= 0.0 or rates[-1] < SWITCHES * usual:
        return None
    return f"{rates[-1] / usual:.2f} x as many switches of a code per learning rate as in the median epoch before"


def switch_rate(epoch: EpochView) -> float | None:
    """Switches of a code per learning rate; None where either is not known, or nothing was learned."""
    if epoch.oscillation is None or not epoch.learning_rate:
        return None
    return epoch.oscillation.total.switches / epoch.learning_rate


def _loss_rise(seen: Sequence[EpochView], _: SeriesName, __: float | None) -> str | None:
    totals = [total for epoch in seen if (total := _total_loss(epoch)) is not None]
    if len(totals) < 2 or _total_loss(seen[-1]) is None:
        return None
    lowest = min(totals[:-1])
    if lowest <= 0.0 or totals[-1] < LOSS * lowest:
        return None
    return f"training loss {totals[-1]:.4g}, {totals[-1] / lowest:.2f} x the lowest before"


def _total_loss(epoch: EpochView) -> float | None:
    values = list(epoch.loss.values())
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


SIGNS: dict[Sign, Callable[[Sequence[EpochView], SeriesName, float | None], str | None]] = {
    "not-finite": _not_finite,
    "metric-fall": _metric_fall,
    "switch-share": _switch_share,
    "scale-drift": _scale_drift,
    "switch-rate": _switch_rate,
    "loss-rise": _loss_rise,
}
