"""Numbers of a benchmark as text."""

from qat_ladder.bench.case import Target

_UNITS = {"seconds": "time", "cpu": "CPU time", "peak_mb": "peak memory", "exponent": "growth"}


def seconds(value: float) -> str:
    """Three significant digits, in milliseconds below a tenth of a second."""
    return f"{value * 1e3:.3g} ms" if value < 0.1 else f"{value:.3g} s" if value < 1000 else f"{value:.0f} s"


def megabytes(value: float) -> str:
    """Whole units of 10^6 bytes."""
    return f"{value:,.0f} MB"


def times(value: float) -> str:
    """A ratio: three significant digits."""
    return f"{value:.3g} ×"


def subject(target: Target) -> str:
    """What a target bounds."""
    over = f", over that of {target.to}" if target.to is not None else ""
    return f"{target.contestant}: {_UNITS[target.of]}{over}"


def amount(target: Target, value: float) -> str:
    """A target's bound, or what was measured of it, in the target's unit."""
    if target.of == "exponent":
        return f"size^{value:.2f}"
    if target.to is not None:
        return times(value)
    return megabytes(value) if target.of == "peak_mb" else seconds(value)
