"""Final mAP50-95 of every run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from qat_report.cells import counted
from qat_report.comparison import Cell, Reference
from qat_report.grouping import Entry
from qat_report.numbers import metric
from qat_report.plots.marks import MOST_SEEDS, Sheet, handle, legend, marker_of, reference_lines, seed_handles
from qat_report.plots.series import spoken
from qat_report.plots.svg import GRID, INK, MUTED, STYLE, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UPRIGHT = 6  # more names than these do not fit beside each other: methods lie in rows then, values along x


def finals_svg(entries: Sequence[Entry], cells: Sequence[Cell], reference: Reference, sheet: Sheet) -> str:
    """One variant: a place per method, a mark per seed, a bar at the mean with its number.

    Runs of one trajectory are joined: they are paired. A run that no mean counts is a cross. The axis spans FP32 and
    the counted runs, for their differences are the subject; what lies outside stands at the edge with its number.
    """
    import matplotlib as mpl

    methods = [cell.method for cell in cells]
    seeds = sorted({entry.seed for entry in entries})
    offsets = {seed: (i - (len(seeds) - 1) / 2) * min(0.12, 0.5 / len(seeds)) for i, seed in enumerate(seeds)}
    places = {entry.path: methods.index(entry.method) + offsets[entry.seed] for entry in entries}
    with mpl.rc_context(STYLE):
        frame = _Frame.of(methods, _span(entries, reference))
        frame.reference(reference)
        frame.joints(entries, places)
        for index, cell in enumerate(cells):
            colour = sheet.colours[cell.method]
            own = [e for e in entries if e.method == cell.method and e.summary.metrics.final_value is not None]
            marks = {entry.path: _marker(entry, seeds) for entry in own}
            for marker in dict.fromkeys(marks.values()):
                points = [(places[entry.path], _final(entry)) for entry in own if marks[entry.path] == marker]
                frame.mark(points, marker=marker, colour=colour)
            if cell.mean is not None:
                frame.mean(index, cell.mean, colour)
        legend(
            frame.figure,
            [
                *seed_handles(seeds, lines=False),
                handle("not counted", marker="x"),
                handle("mean", linestyle="-", linewidth=2.6),
            ],
        )
        return to_svg(
            frame.figure,
            sheet.rules,
            name=f"finals-{reference.variant}",
            title=f"Final mAP50-95, {reference.variant}",
            description=spoken(entries),
        )


@attrs.frozen
class _Frame:
    """Axes on which a method has a place and a run a value; `lying`: places go down, values to the right."""

    figure: "Figure"
    axes: "Axes"
    lying: bool

    @classmethod
    def of(cls, methods: Sequence[str], span: tuple[float, float]) -> "_Frame":
        lying = len(methods) > _UPRIGHT
        figure = new_figure(10.4, 1.2 + 0.27 * len(methods) if lying else 3.6)
        axes = figure.subplots()
        ends = (-0.6, len(methods) - 0.4)
        places, values = (axes.yaxis, axes.xaxis) if lying else (axes.xaxis, axes.yaxis)
        axes.set(xlim=span, ylim=ends[::-1]) if lying else axes.set(xlim=ends, ylim=span)
        places.set_ticks(range(len(methods)), methods)
        # Room for marks that stand on the edge.
        places.set_tick_params(length=0, labelsize=9.5 if lying else 11, labelcolor=INK, pad=9)
        values.set_label_text("final mAP50-95")
        values.grid(visible=True)
        if lying:  # from a name to its number at the other end
            places.grid(visible=True, linestyle=(0, (1, 4)))
        axes.set_axisbelow(True)
        return cls(figure, axes, lying)

    def at(self, place: float, value: float) -> tuple[float, float]:
        return (value, place) if self.lying else (place, value)

    def reference(self, reference: Reference) -> None:
        reference_lines(self.axes, reference, labelled=True, lying=self.lying)

    def joints(self, entries: Sequence[Entry], places: Mapping[str, float]) -> None:
        """A thin line through the counted rows of each training run."""
        from matplotlib.collections import LineCollection

        lines: dict[str, list[tuple[float, float]]] = {}
        for entry in entries:
            if counted(entry):
                point = self.at(places[entry.path], _final(entry))
                lines.setdefault(entry.summary.trajectory_id, []).append(point)
        drawn = LineCollection(list(lines.values()), colors=GRID, linewidths=1.2, zorder=1)
        self.axes.add_collection(drawn, autolim=False)

    def mean(self, index: int, value: float, colour: str) -> None:
        """A bar across the place; its number beside it, or where methods lie in rows at the right edge."""
        ends = [self.at(index + end, value) for end in (-0.26, 0.26)]
        self.axes.plot(*zip(*ends, strict=True), color=colour, linewidth=2.6, zorder=2)
        if self.lying:
            self.axes.annotate(
                metric(value), (1.0, index), xycoords=("axes fraction", "data"), xytext=(8, 0),
                textcoords="offset points", va="center", fontsize=9,
            )  # fmt: skip
        else:
            self.axes.annotate(metric(value), (index + 0.28, value), va="center", fontsize=9)

    def mark(self, points: Sequence[tuple[float, float]], *, marker: str, colour: str) -> None:
        """Marks at (place, value); those outside stand at the edge, the farthest of either side with its number."""
        low, high = self.axes.get_xlim() if self.lying else self.axes.get_ylim()
        xs, ys = zip(*(self.at(place, min(max(value, low), high)) for place, value in points), strict=True)
        self.axes.plot(
            xs, ys, linestyle="", marker=marker, color=colour, markersize=5.5 if self.lying else 8, zorder=3,
            clip_on=False,
        )  # fmt: skip
        below = min(((value, place) for place, value in points if value < low), default=None)
        above = max(((value, place) for place, value in points if value > high), default=None)
        for found, edge, up in ((below, low, True), (above, high, False)):
            if found is not None:
                shift = (8 if up else -8, 0) if self.lying else (8, 6 if up else -8)
                self.axes.annotate(
                    metric(found[0]), self.at(found[1], edge), xytext=shift, textcoords="offset points",
                    ha="left" if up or not self.lying else "right", va="center", fontsize=9, color=MUTED,
                )  # fmt: skip


def _marker(entry: Entry, seeds: Sequence[int]) -> str:
    if not counted(entry):
        return "x"
    return marker_of(seeds.index(entry.seed)) if len(seeds) <= MOST_SEEDS else "o"


def _span(entries: Sequence[Entry], reference: Reference) -> tuple[float, float]:
    values = [_final(entry) for entry in entries if counted(entry)]
    values += [reference.fp32] if reference.fp32 is not None else []
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = max(0.15 * (high - low), 0.005)  # half a point of mAP on either side of equal values
    return max(low - margin, 0.0), min(high + margin, 1.0)


def _final(entry: Entry) -> float:
    value = entry.summary.metrics.final_value
    return float("nan") if value is None else value
