"""What a method's name says of its row: words joined by "+".

"ema" among them: the row reports averaged weights, otherwise the trained ones. "bn" and "qc": what follows the last
epoch, in this order; "qc-beta" and "qc-gamma" train one of both. A name is harder to edit than a flag: every summary,
the plan and the policy agree in it.
"""

from typing import Literal

import attrs

_TRAINED = {"qc": ("beta", "gamma"), "qc-beta": ("beta",), "qc-gamma": ("gamma",)}


@attrs.frozen(kw_only=True)
class Row:
    """Which series a row reports, the stages of its correction (none: it has none), and what they train."""

    series: Literal["raw", "ema"]
    stages: tuple[str, ...]
    trained: tuple[str, ...]


def row_of(method: str) -> Row:
    """The row that a method of this name reports."""
    words = method.split("+")
    return Row(
        series="ema" if "ema" in words else "raw",
        stages=tuple(word.partition("-")[0] for word in words if word == "bn" or word in _TRAINED),
        trained=tuple(part for word in words for part in _TRAINED.get(word, ())),
    )
