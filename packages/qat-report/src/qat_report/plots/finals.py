"""Final mAP50-95 of every run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qat_report.cells import counted
from qat_report.comparison import Cell, Reference
from qat_report.grouping import Entry
from qat_report.numbers import metric
from qat_report.plots.marks import MOST_SEEDS, Sheet, handle, legend, marker_of, reference_lines, seed_handles
from qat_report.plots.series import spoken
from qat_report.plots.svg import GRID, INK, MUTED, STYLE, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UPRIGHT = 6  # more names than these do not fit beside each other


def finals_svg(entries: Sequence[Entry], cells: Sequence[Cell], reference: Reference, sheet: Sheet) -> str:
    """One variant: a place per method, a mark per seed, a bar at the mean.

    Runs of one trajectory are joined: they are paired. A run that no mean counts is a cross. The axis spans FP32 and
    the counted runs, for their differences are the subject; what lies outside stands at the edge with its number.
    """
    import matplotlib as mpl

    methods = [cell.method for cell in cells]
    crowded = len(methods) > _UPRIGHT
    seeds = sorted({entry.seed for entry in entries})
    with mpl.rc_context(STYLE):
        figure = new_figure(10.4, 3.6)
        axes = figure.subplots()
        axes.set_ylim(*_span(entries, reference))
        reference_lines(axes, reference, labelled=True)
        offsets = {seed: (i - (len(seeds) - 1) / 2) * min(0.12, 0.5 / len(seeds)) for i, seed in enumerate(seeds)}
        places = {entry.path: methods.index(entry.method) + offsets[entry.seed] for entry in entries}
        _joints(axes, entries, places)
        for index, cell in enumerate(cells):
            colour = sheet.colours[cell.method]
            own = [e for e in entries if e.method == cell.method and e.summary.metrics.final_value is not None]
            marks = {entry.path: _marker(entry, seeds) for entry in own}
            for marker in dict.fromkeys(marks.values()):
                points = [(places[entry.path], _final(entry)) for entry in own if marks[entry.path] == marker]
                _mark(axes, points, marker=marker, colour=colour, size=5 if crowded else 8)
            if cell.mean is not None:
                axes.plot([index - 0.26, index + 0.26], [cell.mean] * 2, color=colour, linewidth=2.6, zorder=2)
                if not crowded:  # the number would lie on the next method's marks; the table has it
                    axes.annotate(metric(cell.mean), (index + 0.28, cell.mean), va="center", fontsize=9)
        axes.set_xlim(-0.6, len(methods) - 0.4)
        axes.set_xticks(
            range(len(methods)), methods, rotation=30 if crowded else 0, ha="right" if crowded else "center"
        )
        axes.tick_params(axis="x", length=0, labelsize=11, labelcolor=INK)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_ylabel("final mAP50-95")
        legend(
            figure,
            [
                *seed_handles(seeds, lines=False),
                handle("not counted", marker="x"),
                handle("mean", linestyle="-", linewidth=2.6),
            ],
        )
        return to_svg(
            figure,
            sheet.rules,
            name=f"finals-{reference.variant}",
            title=f"Final mAP50-95, {reference.variant}",
            description=spoken(entries),
        )


def _marker(entry: Entry, seeds: Sequence[int]) -> str:
    if not counted(entry):
        return "x"
    return marker_of(seeds.index(entry.seed)) if len(seeds) <= MOST_SEEDS else "o"


def _joints(axes: "Axes", entries: Sequence[Entry], places: Mapping[str, float]) -> None:
    """A thin line through the counted rows of each training run."""
    from matplotlib.collections import LineCollection

    lines: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        if counted(entry):
            lines.setdefault(entry.summary.trajectory_id, []).append((places[entry.path], _final(entry)))
    axes.add_collection(LineCollection(list(lines.values()), colors=GRID, linewidths=1.2, zorder=1), autolim=False)


def _mark(axes: "Axes", points: Sequence[tuple[float, float]], *, marker: str, colour: str, size: int) -> None:
    """Marks at (x, y); those outside stand at the edge, the farthest of either side with its number."""
    low, high = axes.get_ylim()
    xs, ys = [x for x, _ in points], [min(max(y, low), high) for _, y in points]
    axes.plot(xs, ys, linestyle="", marker=marker, color=colour, markersize=size, zorder=3, clip_on=False)
    below = min(((y, x) for x, y in points if y < low), default=None)
    above = max(((y, x) for x, y in points if y > high), default=None)
    for found, edge, shift in ((below, low, 6), (above, high, -8)):
        if found is not None:
            axes.annotate(
                metric(found[0]), (found[1], edge), xytext=(8, shift), textcoords="offset points", va="center",
                fontsize=9, color=MUTED,
            )  # fmt: skip


def _span(entries: Sequence[Entry], reference: Reference) -> tuple[float, float]:
    values = [_final(entry) for entry in entries if counted(entry)]
    values += [reference.fp32] if reference.fp32 is not None else []
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = max(0.15 * (high - low), 0.005)  # half a point of mAP on either side of equal values
    return max(low - margin, 0.0), min(high + margin, 1.0)


def _final(entry: Entry) -> float:
    value = entry.summary.metrics.final_value
    return float("nan") if value is None else value
