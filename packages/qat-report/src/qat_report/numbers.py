"""Every rounding rule of the pages. Artifacts themselves are never rounded."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qat_report.comparison import BootstrapInterval

ABSENT = "–"


def metric(value: float | None) -> str:
    """A metric in [0, 1] with four digits, about the noise of COCO's mAP on a few thousand images."""
    return ABSENT if value is None else f"{value:.4f}"


def delta(value: float | None) -> str:
    """A signed difference of two metrics."""
    return ABSENT if value is None else f"{value:+.4f}"


def difference(value: float | None, reference: float | None) -> float | None:
    """`value` - `reference`; None where one is unknown."""
    return None if value is None or reference is None else value - reference


def count(number: int, noun: str) -> str:
    """Such as "1 seed" or "2 seeds"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def interval(span: "BootstrapInterval | None") -> str:
    """Such as " [+0.0040, +0.0190]", with the space before it; empty where there is none."""
    return "" if span is None else f" [{delta(span.low)}, {delta(span.high)}]"
