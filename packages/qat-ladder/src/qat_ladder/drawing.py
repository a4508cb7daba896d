"""How our plots look: SVG, the same bytes for the same input.

Colours are from Okabe and Ito's palette, which colour-blind readers tell apart, and never the only cue.
"""

import io
import re
from typing import TYPE_CHECKING, Any

from qat_artifacts import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAGE = "#1b2230", "#5a6475", "#d9dee6", "#ffffff"
BLUE, GREEN, ORANGE = "#0072b2", "#009e73", "#d55e00"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: Any = {  # matplotlib types its keys as one long Literal
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a method's name is no formula
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure in inches; draw it under `STYLE` and a "svg.hashsalt"."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAGE)
    FigureCanvasSVG(figure)  # the canvas registers itself: without pyplot there is no other
    return figure


def to_svg(figure: "Figure", title: str, description: str) -> str:
    """The figure as text; the description is for readers who do not see it."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # of the day and the machine
    figure.savefig(buffer, format="svg", metadata=metadata | {"Title": title, "Description": description})
    # A name may hold control characters; XML may not.
    return re.sub(r"[ \t]+$", "", printable(buffer.getvalue()), flags=re.MULTILINE)
