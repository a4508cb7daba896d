"""A plot per case: bars from zero, or curves over sizes; SVG, the same bytes for the same record."""

from typing import TYPE_CHECKING

from qat_ladder.bench.judging import best, points
from qat_ladder.bench.record import Comparison
from qat_ladder.bench.spelling import seconds
from qat_ladder.drawing import BLUE, GREEN, INK, MARKERS, MUTED, ORANGE, STYLE, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (BLUE, ORANGE, GREEN, MUTED)


def svg(comparison: Comparison) -> str:
    """Curves where contestants have sizes, a bar per contestant elsewhere; the shortest run of each."""
    import matplotlib as mpl

    lines = list(dict.fromkeys(r.line for r in comparison.results if r.line is not None))
    with mpl.rc_context(STYLE | {"svg.hashsalt": comparison.name}):
        figure = new_figure(9.2, 4.2 if lines else 0.9 + 0.34 * len(comparison.results))
        axes = figure.subplots()
        if lines:
            _curves(axes, comparison, lines)
        else:
            _bars(axes, comparison)
        axes.set_axisbelow(True)
        return to_svg(figure, comparison.title, _spoken(comparison))


def _bars(axes: "Axes", comparison: Comparison) -> None:
    names = [result.name for result in comparison.results]
    for place, result in enumerate(comparison.results):
        value = best(result)
        if value is not None:
            axes.barh(place, value, height=0.62, color=MUTED if result.name == comparison.reference else BLUE)
        axes.annotate(
            "not measured" if value is None else seconds(value), (value or 0, place), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=9, color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.margins(x=0.14)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("seconds")


def _curves(axes: "Axes", comparison: Comparison, lines: list[str]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for place, line in enumerate(lines):
        found = points(comparison, line)
        if not found:
            continue
        sizes, values = zip(*found, strict=True)
        colour, marker = _COLOURS[place % len(_COLOURS)], MARKERS[place % len(MARKERS)]
        axes.plot(sizes, values, color=colour, marker=marker, markersize=6, label=line)
        # What linear growth from its first point would be.
        linear = [values[0] * size / sizes[0] for size in (sizes[0], sizes[-1])]
        axes.plot((sizes[0], sizes[-1]), linear, color=colour, linewidth=1, linestyle=(0, (1, 2)))
    axes.grid(visible=True)
    axes.set_xlabel("size (dotted: linear growth from the first point)")
    axes.set_ylabel("seconds")
    axes.legend(frameon=False, fontsize=9)


def _spoken(comparison: Comparison) -> str:
    """What a reader who does not see the plot needs to know."""
    return "; ".join(
        f"{r.name}: {'not measured' if (value := best(r)) is None else seconds(value)}" for r in comparison.results
    )
