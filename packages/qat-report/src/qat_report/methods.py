"""What a method's row is made of: the weights whose evaluations it reports, and what is done to them after training."""

import attrs

from qat_report.errors import RequestError
from qat_report.records import CorrectionStage, Trained
from qat_report.views import SeriesName

CORRECTION_SUFFIX = "+qc"
STANDING = ("baseline", "ema", "ema+qc")  # the ladder's own rows
_BOTH: tuple[Trained, ...] = ("gamma", "beta")


@attrs.frozen(kw_only=True)
class MethodRow:
    """`corrected`: the last point of the row is measured after a correction.

    `stages` and `trained` are what the correction must have done; None: whatever it did, the name does not say.
    """

    name: str
    series: SeriesName
    corrected: bool
    stages: tuple[CorrectionStage, ...] | None = None
    trained: tuple[Trained, ...] | None = None

    @property
    def planned(self) -> tuple[CorrectionStage, ...]:
        """The stages to expect where there is no correction to read them from."""
        if self.stages is None:
            return ("qc",) if self.corrected else ()
        return self.stages


def _row(
    name: str, series: SeriesName, *stages: CorrectionStage, trained: tuple[Trained, ...] | None = None
) -> MethodRow:
    trains = (trained or _BOTH) if "qc" in stages else ()
    return MethodRow(name=name, series=series, corrected=bool(stages), stages=stages, trained=trains)


_KNOWN = {
    row.name: row
    for row in (
        # One trajectory: training as it is.
        _row("baseline", "raw"),
        _row("bn", "raw", "bn"),
        _row("qc", "raw", "qc"),
        _row("ema", "ema"),
        _row("ema+bn", "ema", "bn"),
        _row("ema+qc", "ema", "qc"),
        _row("ema+bn+qc", "ema", "bn", "qc"),
        _row("ema+qc-beta", "ema", "qc", trained=("beta",)),
        _row("ema+qc-gamma", "ema", "qc", trained=("gamma",)),
        # Arms: each block is a trajectory of its own.
        _row("learned", "raw"),
        _row("learned+ema", "ema"),
        _row("learned+ema+bn", "ema", "bn"),
        _row("learned+ema+qc", "ema", "qc"),
        _row("paper", "raw"),
        _row("paper+ema", "ema"),
        _row("paper+ema+qc", "ema", "qc"),
        _row("dampening", "raw"),
        _row("dampening+ema", "ema"),
        _row("freezing", "raw"),
        _row("freezing+ema", "ema"),
        _row("distill", "raw"),
        _row("distill+ema", "ema"),
        # Floating point controls.
        _row("fp32", "raw"),
        _row("fp32+ema", "ema"),
    )
}
ORDER = tuple(_KNOWN)  # of rows in a report; other methods follow by name


def resolve_method(name: str, *, series: SeriesName | None, correction_given: bool) -> MethodRow:
    """The row that a method's name asks for.

    A known name fixes its series and its correction; any other name needs a series, and its row is corrected where a
    correction is given or the name ends in "+qc".

    Raises:
        RequestError: the name, the series and the correction contradict each other.
    """
    known = _KNOWN.get(name)
    if known is None:
        if series is None:
            raise RequestError(
                f"method {name!r} does not say which weights it reports; add --series raw or --series ema"
            )
        return MethodRow(name=name, series=series, corrected=correction_given or name.endswith(CORRECTION_SUFFIX))
    if series not in (None, known.series):
        raise RequestError(
            f"method {name!r} reports the {known.series} series, not {series}; give the other row another name"
        )
    if correction_given and not known.corrected:
        raise RequestError(f"method {name!r} has no correction; leave --qc out or name a method that has one")
    return known


def rank(name: str) -> int:
    """The place of a method in every table; those that are not known come last."""
    return ORDER.index(name) if name in ORDER else len(ORDER)


def planned_stages(name: str, *, corrected: bool) -> tuple[CorrectionStage, ...]:
    """The stages of a run that was never started; `corrected` is what was asked for."""
    if name in _KNOWN:
        return _KNOWN[name].planned
    return ("qc",) if corrected else ()
