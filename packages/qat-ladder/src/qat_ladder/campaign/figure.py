"""One plot per block: the final value of every seed of every row.

Seeds differ in marker, those of another library's quantizers are hollow, what no mean counts is a cross, references are
broken lines.
"""

from typing import TYPE_CHECKING

from qat_ladder.campaign.contest import is_peer
from qat_ladder.campaign.evidence import Evidence, Result
from qat_ladder.drawing import BLUE, GREEN, INK, MARKERS, MUTED, ORANGE, STYLE, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_QUANTIZED, _FLOATING, _LEFT_OUT = BLUE, GREEN, ORANGE


def finals_svg(evidence: Evidence, title: str) -> str:
    """A row per method, a mark per seed, a bar at the mean, FP32 as a line, and each row's own PTQ.

    The axis spans FP32 and the counted seeds, for their differences are the subject. What lies outside stands at the
    edge; the PTQ of every row is written beside it.
    """
    import matplotlib as mpl

    methods = [cell.method for cell in evidence.cells]
    seeds = sorted({result.seed for result in evidence.results})
    with mpl.rc_context(STYLE | {"svg.hashsalt": evidence.block.name}):
        figure = new_figure(9.2, 1.5 + 0.34 * len(methods))
        axes = figure.subplots()
        low, high = _span(evidence)
        axes.set_xlim(low, high)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        for value, _ in evidence.references("fp32"):
            axes.axvline(value, color=MUTED, linewidth=1.2, linestyle=(0, (8, 2)), zorder=1)
        for place, cell in enumerate(evidence.cells):
            own = evidence.of(cell.method)
            for result in own:
                _mark(axes, result, place, seeds)
            if cell.mean is not None:
                axes.plot([cell.mean] * 2, [place - 0.32, place + 0.32], color=INK, linewidth=2.4, zorder=2)
            _beside(axes, place, cell.mean, evidence.starts(cell.method))
        best = evidence.best()
        axes.set_yticks(range(len(methods)), methods)
        for label, method in zip(axes.get_yticklabels(), methods, strict=True):
            label.set_fontweight("bold" if best and best.method == method else "normal")
        axes.tick_params(axis="y", length=0, pad=10)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel("final mAP50-95")
        _legend(figure, seeds)
        return to_svg(figure, title, _spoken(evidence))


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
        marker=MARKERS[index % len(MARKERS)] if result.counted else "x",
        markerfacecolor="white" if is_peer(result) else None,
        color=_LEFT_OUT if not result.counted else _FLOATING if result.mode == "fp32" else _QUANTIZED,
        markersize=6,
        zorder=3,
        clip_on=False,
    )


def _beside(axes: "Axes", place: int, mean: float | None, ptq: list[float]) -> None:
    """The row's mean and PTQ in numbers, and its PTQ as a dotted line where the axis reaches it."""
    low, high = axes.get_xlim()
    for value in ptq:
        if low <= value <= high:
            axes.plot([value] * 2, [place - 0.4, place + 0.4], color=MUTED, linewidth=1.4, linestyle=(0, (1, 1)))
    numbers = ["–" if mean is None else f"{mean:.4f}"]
    numbers += [f"PTQ {value:.4f}" for value in ptq]
    axes.annotate(
        " · ".join(numbers), (1.0, place), xycoords=("axes fraction", "data"), xytext=(8, 0),
        textcoords="offset points", va="center", fontsize=9, color=MUTED, annotation_clip=False,
    )  # fmt: skip


def _legend(figure: "Figure", seeds: list[int]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_QUANTIZED, marker=MARKERS[i % len(MARKERS)], linestyle="", label=f"seed {seed}")
        for i, seed in enumerate(seeds)
    ]
    handles += [
        Line2D([], [], color=_QUANTIZED, marker="o", linestyle="", markerfacecolor="white", label="another library"),
        Line2D([], [], color=_FLOATING, marker="o", linestyle="", label="trained in floating point"),
        Line2D([], [], color=_LEFT_OUT, marker="x", linestyle="", label="not counted"),
        Line2D([], [], color=INK, linewidth=2.4, label="mean"),
        Line2D([], [], color=MUTED, linewidth=1.2, linestyle=(0, (8, 2)), label="FP32"),
        Line2D([], [], color=MUTED, linewidth=1.4, linestyle=(0, (1, 1)), label="PTQ"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=6, frameon=False, fontsize=9)


def _spoken(evidence: Evidence) -> str:
    """What a reader who does not see the plot needs to know."""
    return "; ".join(
        f"{r.method} seed {r.seed}: {'no final value' if r.final_value is None else f'{r.final_value:.4f}'}"
        f"{'' if r.counted else ', not counted'}"
        for r in evidence.results
    )
