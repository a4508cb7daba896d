"""One plot per block: the final value of every seed of every row; SVG, the same bytes for the same input.

Colours are from Okabe and Ito's palette, which colour-blind readers tell apart, and never the only cue: seeds differ in
marker, what no mean counts is a cross, references are broken lines.
"""

import io
import re
from typing import TYPE_CHECKING, Any

from qat_artifacts import printable
from qat_ladder.campaign.evidence import Evidence, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _MUTED, _GRID, _PAGE = "#1b2230", "#5a6475", "#d9dee6", "#ffffff"
_QUANTIZED, _FLOATING, _LEFT_OUT = "#0072b2", "#009e73", "#d55e00"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLE: Any = {  # matplotlib types its keys as one long Literal
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a method's name is no formula
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _INK,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}


def finals_svg(evidence: Evidence, title: str) -> str:
    """A row per method, a mark per seed, a bar at the mean, FP32 as a line, and each row's own PTQ.

    The axis spans FP32 and the counted seeds, for their differences are the subject. What lies outside stands at the
    edge; the PTQ of every row is written beside it.
    """
    import matplotlib as mpl

    methods = [cell.method for cell in evidence.cells]
    seeds = sorted({result.seed for result in evidence.results})
    with mpl.rc_context(_STYLE | {"svg.hashsalt": evidence.block.name}):
        figure = _figure(9.2, 1.5 + 0.34 * len(methods))
        axes = figure.subplots()
        low, high = _span(evidence)
        axes.set_xlim(low, high)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        for value, _ in evidence.references("fp32"):
            axes.axvline(value, color=_MUTED, linewidth=1.2, linestyle=(0, (8, 2)), zorder=1)
        for place, cell in enumerate(evidence.cells):
            own = evidence.of(cell.method)
            for result in own:
                _mark(axes, result, place, seeds)
            if cell.mean is not None:
                axes.plot([cell.mean] * 2, [place - 0.32, place + 0.32], color=_INK, linewidth=2.4, zorder=2)
            _beside(axes, place, cell.mean, own)
        best = evidence.best()
        axes.set_yticks(range(len(methods)), methods)
        for label, method in zip(axes.get_yticklabels(), methods, strict=True):
            label.set_fontweight("bold" if best and best.method == method else "normal")
        axes.tick_params(axis="y", length=0, pad=10)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel("final mAP50-95")
        _legend(figure, seeds)
        return _svg(figure, title, _spoken(evidence))


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor=_PAGE)
    FigureCanvasSVG(figure)  # the canvas registers itself: without pyplot there is no other
    return figure


def _span(evidence: Evidence) -> tuple[float, float]:
    values = [r.final_value for r in evidence.results if r.counted and r.final_value is not None]
    values += [value for value, _ in evidence.references("fp32")]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = max(0.08 * (high - low), 0.003)  # equal values do not stand on the edge
    return max(low - margin, 0.0), min(high + margin, 1.0)


def _mark(axes: "Axes", result: Result, place: int, seeds: list[int]) -> None:
    if result.final_value is None:
        return
    index = seeds.index(result.seed)
    low, high = axes.get_xlim()
    axes.plot(
        min(max(result.final_value, low), high),
        place + (index - (len(seeds) - 1) / 2) * min(0.14, 0.5 / len(seeds)),  # equal finals stay apart
        marker=_MARKERS[index % len(_MARKERS)] if result.counted else "x",
        color=_LEFT_OUT if not result.counted else _FLOATING if result.mode == "fp32" else _QUANTIZED,
        markersize=6,
        zorder=3,
        clip_on=False,
    )


def _beside(axes: "Axes", place: int, mean: float | None, own: list[Result]) -> None:
    """The row's mean and PTQ in numbers, and its PTQ as a dotted line where the axis reaches it."""
    ptq = {result.ptq for result in own if result.ptq is not None and result.mode != "fp32"}
    low, high = axes.get_xlim()
    for value in sorted(ptq):
        if low <= value <= high:
            axes.plot([value] * 2, [place - 0.4, place + 0.4], color=_MUTED, linewidth=1.4, linestyle=(0, (1, 1)))
    numbers = ["–" if mean is None else f"{mean:.4f}"]
    numbers += [f"PTQ {value:.4f}" for value in sorted(ptq)]
    axes.annotate(
        " · ".join(numbers), (1.0, place), xycoords=("axes fraction", "data"), xytext=(8, 0),
        textcoords="offset points", va="center", fontsize=9, color=_MUTED, annotation_clip=False,
    )  # fmt: skip


def _legend(figure: "Figure", seeds: list[int]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_QUANTIZED, marker=_MARKERS[i % len(_MARKERS)], linestyle="", label=f"seed {seed}")
        for i, seed in enumerate(seeds)
    ]
    handles += [
        Line2D([], [], color=_FLOATING, marker="o", linestyle="", label="trained in floating point"),
        Line2D([], [], color=_LEFT_OUT, marker="x", linestyle="", label="not counted"),
        Line2D([], [], color=_INK, linewidth=2.4, label="mean"),
        Line2D([], [], color=_MUTED, linewidth=1.2, linestyle=(0, (8, 2)), label="FP32"),
        Line2D([], [], color=_MUTED, linewidth=1.4, linestyle=(0, (1, 1)), label="PTQ"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=6, frameon=False, fontsize=9)


def _spoken(evidence: Evidence) -> str:
    """What a reader who does not see the plot needs to know."""
    return "; ".join(
        f"{r.method} seed {r.seed}: {'no final value' if r.final_value is None else f'{r.final_value:.4f}'}"
        f"{'' if r.counted else ', not counted'}"
        for r in evidence.results
    )


def _svg(figure: "Figure", title: str, description: str) -> str:
    buffer = io.StringIO()
    metadata: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # of the day and the machine
    figure.savefig(buffer, format="svg", metadata=metadata | {"Title": title, "Description": description})
    # A name may hold control characters; XML may not.
    return re.sub(r"[ \t]+$", "", printable(buffer.getvalue()), flags=re.MULTILINE)
