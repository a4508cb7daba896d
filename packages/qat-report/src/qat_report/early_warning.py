"""Signs in a running series that a run heads for collapse, and how much earlier than the collapse they stood.

Every sign at an epoch is decided from that epoch and those before it, as it would have been while the run was going on.

What the limits rest on: docs/results/early-warning.md, runs that were made to collapse and runs that were not, and 30
series of docs/results (three detectors, three data sets, raw and averaged, none collapsed).
- metric-fall: those series never fall more than 6.7 % below the best evaluation before; the limit is three times that.
  At five times the usual learning rate raw weights dip below it for an epoch and recover: one alarm proves nothing yet.
- switch-share: at most 3.3 % of the codes switch at each step of a run whose raw weights stay stable, 0.8 % at the
  usual learning rate; 3.9 % and more where they collapse, at or before the collapse. One detector, mostly at 4 bits:
  elsewhere the limit is a guess. Averaged weights may hold under it.
- scale-drift: learned scales move by 0.05 % in an epoch at most, and by 4.9 % in the first of the run that they ruined.
- switch-rate, loss-rise: stay within 1.1 of their median and 1.05 of their lowest in stable runs, but were silent in
  every collapse on record. They are left for collapses of another kind, and nothing is claimed for them.
The drift of batch norm statistics is recorded and is no sign: it grows in healthy and in collapsing runs alike.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import attrs
from cattrs import override

from qat_report.epochs import EpochView, read_epochs
from qat_report.errors import ReportError
from qat_report.records import Event
from qat_report.sources import read_source
from qat_report.stability import COLLAPSE_RATIO, FAULTS, RAMP_RATIO, SIGNAL_RATIO, Point, StabilityClass, classify
from qat_report.views import References, SeriesName

Sign = Literal["not-finite", "metric-fall", "switch-share", "scale-drift", "switch-rate", "loss-rise"]

FALL = 0.8  # of the best evaluation before
SWITCHED = 0.035  # of all tracked codes, at each step
DRIFT = 0.02  # of its scale, by the median layer, in one epoch
SWITCHES = 1.5  # times the median of the epochs before
SETTLED = 3  # epochs before a switch rate has a median to be held against; the first one, at warm-up, is none of them
LOSS = 1.5  # times the lowest of the epochs before


@attrs.frozen(kw_only=True)
class Alarm:
    """The first epoch at which a sign stood, and why."""

    sign: Sign
    epoch: int
    text: str


@attrs.frozen(kw_only=True)
class Standing:
    """A sign that stands at the last epoch, and has for so many `epochs` in a row; `text` is that of the last."""

    sign: Sign
    epochs: int
    text: str


@attrs.frozen(kw_only=True)
class EarlyWarning:
    """What was seen in one series of a run.

    `alarms` hold the first of each sign, in the order of their epochs; `first_epoch` is that of the first alarm.
    `standing` are those that have not gone away: an alarm of one epoch may be noise.
    `collapse_epoch`: the first evaluation below half of the best before it, or without a number, in a run whose class
    is collapsed or diverged. `lead_epochs`: epochs from the first alarm to it, negative for an alarm that came late;
    None without an alarm or without a collapse. `not_checked` says which signs the lines do not show.
    """

    series: SeriesName
    epochs: int
    run_class: Annotated[StabilityClass, override(rename="class")]
    first_epoch: int | None
    collapse_epoch: int | None
    lead_epochs: int | None
    alarms: tuple[Alarm, ...]
    standing: tuple[Standing, ...]
    not_checked: tuple[str, ...]

    @property
    def warned(self) -> bool:
        """Whether any sign stood."""
        return self.first_epoch is not None


def watch(
    epochs: Sequence[EpochView], series: SeriesName, *, fp32: float | None = None, ptq: float | None = None
) -> EarlyWarning:
    """Look for signs of a collapse in the lines of a run, as far as it has come.

    Args:
        epochs: its lines, epoch 1 first.
        series: which evaluations to watch; "raw" are those of the weights in training.
        fp32: mAP50-95 of the floating-point model; a best of less than a twentieth of it is no height to fall from.
        ptq: mAP50-95 before training, for the class alone.
    """
    texts = {sign: _texts(sign, epochs, series, fp32) for sign in _SIGNS}
    firsts = (_first(sign, epochs, found) for sign, found in texts.items())
    alarms = sorted((alarm for alarm in firsts if alarm is not None), key=lambda alarm: alarm.epoch)
    points = [Point(epoch=e.epoch, value=v) for e, v in zip(epochs, _values(epochs, series), strict=True)]
    events = [event for epoch in epochs for event in epoch.events]
    found = classify(points, fp32=fp32, ptq=ptq, events=events)
    first = alarms[0].epoch if alarms else None
    collapse = _collapse_epoch(points, events, found.findings)
    return EarlyWarning(
        series=series,
        epochs=len(epochs),
        run_class=found.stability_class,
        first_epoch=first,
        collapse_epoch=collapse,
        lead_epochs=None if first is None or collapse is None else collapse - first,
        alarms=tuple(alarms),
        standing=tuple(_standing(texts)),
        not_checked=tuple(_not_checked(epochs, fp32)),
    )


def _values(epochs: Sequence[EpochView], series: SeriesName) -> list[float | None]:
    points = [epoch.point(series) for epoch in epochs]
    return [None if point is None else point.map50_95 for point in points]


def _texts(sign: Sign, epochs: Sequence[EpochView], series: SeriesName, fp32: float | None) -> list[str | None]:
    """What a sign says at each epoch, from the lines up to it; None where it does not stand."""
    return [_SIGNS[sign](epochs[:end], series, fp32) for end in range(1, len(epochs) + 1)]


def _first(sign: Sign, epochs: Sequence[EpochView], texts: Sequence[str | None]) -> Alarm | None:
    """The first epoch at which a sign stood."""
    found = (Alarm(sign=sign, epoch=e.epoch, text=text) for e, text in zip(epochs, texts, strict=True) if text)
    return next(found, None)


def _standing(texts: Mapping[Sign, Sequence[str | None]]) -> Iterator[Standing]:
    for sign, found in texts.items():
        run = list(takewhile(bool, reversed(found)))
        if run and run[0]:
            yield Standing(sign=sign, epochs=len(run), text=run[0])


def _not_finite(seen: Sequence[EpochView], series: SeriesName, _: float | None) -> str | None:
    now = seen[-1]
    lost = [f"{name} loss" for name, value in now.loss.items() if value is None]
    lost += [event.kind for event in now.events if event.kind in FAULTS]
    lost += [f"{series} evaluation"] if now.point(series) is None else []
    return f"not finite: {', '.join(lost)}" if lost else None


def _metric_fall(seen: Sequence[EpochView], series: SeriesName, fp32: float | None) -> str | None:
    *before, last = _values(seen, series)
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
    rates = [rate for epoch in seen[1:] if (rate := _rate(epoch)) is not None]
    if len(rates) <= SETTLED or _rate(seen[-1]) is None:
        return None
    usual = median(rates[:-1])
    if usual <= 0.0 or rates[-1] < SWITCHES * usual:
        return None
    return f"{rates[-1] / usual:.2f} x as many switches of a code per learning rate as in the median epoch before"


def _rate(epoch: EpochView) -> float | None:
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


_SIGNS: dict[Sign, Callable[[Sequence[EpochView], SeriesName, float | None], str | None]] = {
    "not-finite": _not_finite,
    "metric-fall": _metric_fall,
    "switch-share": _switch_share,
    "scale-drift": _scale_drift,
    "switch-rate": _switch_rate,
    "loss-rise": _loss_rise,
}


def _collapse_epoch(points: Sequence[Point], events: Sequence[Event], findings: Sequence[StabilityClass]) -> int | None:
    found = []
    if "diverged" in findings:
        found += [point.epoch for point in points if point.value is None]
        found += [event.epoch for event in events if event.kind in FAULTS]
    if "collapsed" in findings:
        top = max(point.value for point in points if point.value is not None)
        best = 0.0
        for point in points:
            if point.value is not None:
                if best >= RAMP_RATIO * top and point.value < COLLAPSE_RATIO * best:
                    found.append(point.epoch)
                best = max(best, point.value)
    return min(found, default=None)


def _not_checked(epochs: Sequence[EpochView], fp32: float | None) -> Iterator[str]:
    if all(switch_share(epochs[:end]) is None for end in range(1, len(epochs) + 1)):
        yield "switch-share: the lines do not say how many weights were tracked over how many steps"
    if all(epoch.drift is None for epoch in epochs):
        yield "scale-drift: the lines were written before it was recorded"
    if sum(_rate(epoch) is not None for epoch in epochs[1:]) <= SETTLED:
        yield f"switch-rate: fewer than {SETTLED + 1} epochs after the first have switches and a learning rate"
    if len(epochs) < 2:
        yield "metric-fall, loss-rise: there is no epoch before"
    if not fp32:
        yield "metric-fall: no FP32 reference is known, any best counts as a height to fall from"


def watch_run(place: Path, series: SeriesName) -> EarlyWarning:
    """`watch` the files of a run, which may still be going on.

    Args:
        place: its folder, with run.json and metrics.jsonl, or a metrics.jsonl alone: then no reference is known.
        series: which evaluations to watch.

    Raises:
        ReportError: no line yet, lines that cannot be read, or a series that this run does not validate.
        ArtifactError: run.json is missing or invalid.
    """
    if place.is_dir():
        source = read_source(place, None)
        metrics, epochs, references = source.metrics, source.epochs, source.run.references
    else:
        metrics, epochs, references = place, read_epochs(place), References(fp32=None, ptq=None)
    if not epochs:
        raise ReportError(f"{metrics}: no epoch is finished yet")
    if all(epoch.point(series) is None for epoch in epochs) and any(epoch.point(_other(series)) for epoch in epochs):
        raise ReportError(f"{metrics}: the {series} weights were not validated; use --series {_other(series)}")
    return watch(
        epochs,
        series,
        fp32=references.fp32.map50_95 if references.fp32 else None,
        ptq=references.ptq.map50_95 if references.ptq else None,
    )


def _other(series: SeriesName) -> SeriesName:
    return "ema" if series == "raw" else "raw"
