"""Signs in a running series that a run heads for collapse, and how much earlier than the collapse they stood.

Every sign at an epoch is decided from that epoch and those before it, as it would have been while the run was going on.
The signs and what their limits rest on: `qat_report.signs`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import attrs
from cattrs import override

from qat_report.epochs import EpochView, read_epochs
from qat_report.errors import ReportError
from qat_report.records import Event
from qat_report.signs import SETTLED, SIGNS, Sign, switch_rate, switch_share, values_of
from qat_report.sources import read_source
from qat_report.stability import COLLAPSE_RATIO, FAULTS, RAMP_RATIO, Point, StabilityClass, classify
from qat_report.views import References, SeriesName


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
    texts = {sign: _texts(sign, epochs, series, fp32) for sign in SIGNS}
    firsts = (_first(sign, epochs, found) for sign, found in texts.items())
    alarms = sorted((alarm for alarm in firsts if alarm is not None), key=lambda alarm: alarm.epoch)
    points = [Point(epoch=e.epoch, value=v) for e, v in zip(epochs, values_of(epochs, series), strict=True)]
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


def _texts(sign: Sign, epochs: Sequence[EpochView], series: SeriesName, fp32: float | None) -> list[str | None]:
    """What a sign says at each epoch, from the lines up to it; None where it does not stand."""
    return [SIGNS[sign](epochs[:end], series, fp32) for end in range(1, len(epochs) + 1)]


def _first(sign: Sign, epochs: Sequence[EpochView], texts: Sequence[str | None]) -> Alarm | None:
    """The first epoch at which a sign stood."""
    found = (Alarm(sign=sign, epoch=e.epoch, text=text) for e, text in zip(epochs, texts, strict=True) if text)
    return next(found, None)


def _standing(texts: Mapping[Sign, Sequence[str | None]]) -> Iterator[Standing]:
    for sign, found in texts.items():
        run = list(takewhile(bool, reversed(found)))
        if run and run[0]:
            yield Standing(sign=sign, epochs=len(run), text=run[0])


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
    if sum(switch_rate(epoch) is not None for epoch in epochs[1:]) <= SETTLED:
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
