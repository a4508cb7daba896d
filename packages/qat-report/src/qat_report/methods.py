"""What a method's row is made of: the weights whose evaluations it reports, and whether a correction follows."""

import attrs

from qat_report.errors import RequestError
from qat_report.views import SeriesName

CORRECTION_SUFFIX = "+qc"
_SERIES: dict[str, SeriesName] = {"baseline": "raw", "ema": "ema", "ema+qc": "ema"}
ORDER = tuple(_SERIES)  # of rows in a report; other methods follow by name


@attrs.frozen(kw_only=True)
class MethodRow:
    """`corrected`: the last point of the row is measured after Quantization Correction."""

    name: str
    series: SeriesName
    corrected: bool


def resolve_method(name: str, *, series: SeriesName | None, correction_given: bool) -> MethodRow:
    """The row that a method's name asks for.

    `baseline`, `ema` and `ema+qc` fix their series; any other name needs one. A name that ends in "+qc" is corrected;
    so is any other name, `baseline` and `ema` excepted, when a correction is given.

    Raises:
        RequestError: the name, the series and the correction contradict each other.
    """
    fixed = _SERIES.get(name)
    if fixed is None and series is None:
        raise RequestError(f"method {name!r} does not say which weights it reports; add --series raw or --series ema")
    if fixed is not None and series not in (None, fixed):
        raise RequestError(f"method {name!r} reports the {fixed} series, not {series}; give the other row another name")
    corrected = name.endswith(CORRECTION_SUFFIX)
    if fixed is not None and correction_given and not corrected:
        raise RequestError(f"method {name!r} has no correction; leave --qc out or name the method {name}+qc")
    chosen = fixed or series
    assert chosen is not None
    return MethodRow(name=name, series=chosen, corrected=corrected or correction_given)
