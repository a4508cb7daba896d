"""mAP50-95 per epoch."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from qat_report.cells import counted
from qat_report.comparison import Reference
from qat_report.grouping import Entry
from qat_report.numbers import metric
from qat_report.plots.marks import (
    EVENTS,
    MOST_SEEDS,
    OTHER_EVENT,
    Sheet,
    handle,
    hide_rest,
    legend,
    line_of,
    marker_of,
    reference_lines,
    seed_handles,
    threshold_handle,
)
from qat_report.plots.svg import INK, STYLE, new_figure, to_svg
from qat_report.stability import COLLAPSE_RATIO
from qat_report.wording import after

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_PANELS = 3  # side by side
_MANY = 9  # methods; beyond that four smaller panels stand side by side
_CORRECTIONS: dict[str, Any] = {"after QC": "*", "after BN": "p", "after BN + QC": (8, 1, 0)}
_SPOKEN = 60  # runs
_MOST_MARKERS = 24  # a marker at each of a hundred epochs hides the line, and costs most of the page's bytes


def series_svg(entries: Sequence[Entry], reference: Reference, sheet: Sheet) -> str:
    """Every evaluation of one variant: a panel per method, a line per seed, references, thresholds, events."""
    import matplotlib as mpl

    methods = list(dict.fromkeys(entry.method for entry in entries))
    seeds = sorted({entry.seed for entry in entries})
    many = len(methods) > _MANY
    columns = _PANELS + 1 if many else min(len(methods), _PANELS)
    rows = -(-len(methods) // columns)
    with mpl.rc_context(STYLE):
        figure = new_figure(10.4, 0.7 + (2.0 if many else 2.9) * rows)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        top = max([*_values(entries), reference.fp32 or 0.0, reference.ptq or 0.0, 1e-3])
        axes[0].set_ylim(0.0, 1.08 * top)
        axes[0].set_xlim(*_epochs(entries))
        for index, (panel, method) in enumerate(zip(axes, methods, strict=False)):
            own = [entry for entry in entries if entry.method == method]
            labelled = index % columns == columns - 1 or index == len(methods) - 1
            _panel(panel, own, seeds, sheet.colours[method], reference, labelled=labelled, small=many)
            panel.set_title(method, loc="left", fontweight="bold", fontsize=9.5 if many else 11, pad=9)
        hide_rest(figure, len(methods), columns)
        figure.axes[0].set_ylabel("mAP50-95")
        figure.supxlabel("epoch", fontsize=10, color=INK)
        legend(
            figure,
            [
                *seed_handles(seeds, lines=True),
                threshold_handle(),
                *_correction_handles(entries),
                *_event_handles(entries),
            ],
        )
        return to_svg(
            figure,
            sheet.rules,
            name=f"series-{reference.variant}",
            title=f"mAP50-95 per epoch, {reference.variant}",
            description=spoken(entries),
        )


def spoken(entries: Sequence[Entry]) -> str:
    """What a reader who does not see the plot needs to know of each run."""
    runs = [
        f"{entry.method} seed {entry.seed}: best {metric(entry.summary.metrics.best_value)}, "
        f"final {metric(entry.summary.metrics.final_value)}, {entry.summary.stability.run_class}"
        for entry in entries[:_SPOKEN]
    ]
    return "; ".join(runs + ([f"{len(entries) - _SPOKEN} more in the table of runs"] if len(entries) > _SPOKEN else []))


def _panel(
    axes: "Axes",
    entries: Sequence[Entry],
    seeds: Sequence[int],
    colour: str,
    reference: Reference,
    *,
    labelled: bool,
    small: bool,
) -> None:
    from matplotlib.ticker import MaxNLocator

    reference_lines(axes, reference, labelled=labelled)
    bests = [best for entry in entries if (best := entry.summary.metrics.best_value)]
    if len(seeds) > MOST_SEEDS:
        _bundle(axes, entries, colour)
        bests = [min(bests), max(bests)] if bests else []
    else:
        for entry in entries:
            _line(axes, entry, seeds.index(entry.seed), colour, small=small)
    axes.hlines(
        [COLLAPSE_RATIO * best for best in bests], *axes.get_xlim(), colors=colour, linewidth=0.9, linestyle=":"
    )
    for label, points in _corrected(entries).items():
        xs, ys = zip(*points, strict=True)
        axes.plot(
            xs, ys, linestyle="", marker=_CORRECTIONS[label], markersize=8 if small else 12, color=colour,
            markeredgecolor=INK, markeredgewidth=0.6 if small else 1.0,
        )  # fmt: skip
    events = [event for entry in entries for event in entry.summary.stability.events]
    for rank, marker in enumerate(dict.fromkeys(EVENTS.get(event.kind, OTHER_EVENT) for event in events)):
        epochs = sorted({event.epoch for event in events if EVENTS.get(event.kind, OTHER_EVENT) == marker})
        heights = [0.97 - 0.07 * rank] * len(epochs)  # of the panel: below its upper edge, a line per kind
        edge = axes.get_xaxis_transform()
        axes.plot(epochs, heights, transform=edge, clip_on=False, marker=marker, color=INK, markersize=7, linestyle="")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def _line(axes: "Axes", entry: Entry, index: int, colour: str, *, small: bool) -> None:
    axes.plot(
        *_series(entry),
        color=colour,
        linestyle=line_of(index),
        linewidth=1.2 if small else 1.8,
        marker=marker_of(index),
        markersize=2.5 if small else 4,
        markevery=max(1, -(-len(entry.summary.metrics.history) // _MOST_MARKERS)),
        alpha=1.0 if counted(entry) else 0.6,
    )


def _bundle(axes: "Axes", entries: Sequence[Entry], colour: str) -> None:
    """All runs in one stroke each, too many to be told apart; those that are not counted are dashed."""
    from matplotlib.collections import LineCollection

    for counts, look in ((True, "-"), (False, "--")):
        lines = [list(zip(*_series(entry), strict=True)) for entry in entries if counted(entry) is counts]
        axes.add_collection(
            LineCollection(lines, colors=colour, linewidths=0.9, linestyles=look, alpha=0.6), autolim=False
        )


def _series(entry: Entry) -> tuple[list[int], list[float]]:
    history = entry.summary.metrics.history
    return [p.epoch for p in history], [float("nan") if p.value is None else p.value for p in history]


def _corrected(entries: Sequence[Entry]) -> dict[str, list[tuple[int, float]]]:
    """(epoch, value) of the points after each correction."""
    found: dict[str, list[tuple[int, float]]] = {}
    for entry in entries:
        for point in entry.summary.metrics.history:
            if point.stage == "qc" and point.value is not None:
                found.setdefault(after(entry.summary.method.qc.stages), []).append((point.epoch, point.value))
    return found


def _correction_handles(entries: Sequence[Entry]) -> list["Line2D"]:
    found = _corrected(entries)
    return [handle(label, marker=marker, markersize=10) for label, marker in _CORRECTIONS.items() if label in found]


def _event_handles(entries: Sequence[Entry]) -> list["Line2D"]:
    kinds = {event.kind for entry in entries for event in entry.summary.stability.events}
    known = [handle(kind, marker=marker, markersize=7) for kind, marker in EVENTS.items() if kind in kinds]
    others = [handle("other event", marker=OTHER_EVENT, markersize=7)] if kinds - EVENTS.keys() else []
    return known + others


def _values(entries: Iterable[Entry]) -> list[float]:
    return [point.value for entry in entries for point in entry.summary.metrics.history if point.value is not None]


def _epochs(entries: Iterable[Entry]) -> tuple[float, float]:
    """The first and the last epoch, with room for their marks."""
    epochs = [point.epoch for entry in entries for point in entry.summary.metrics.history] or [1]
    room = max(0.04 * (max(epochs) - min(epochs)), 0.5)
    return min(epochs) - room, max(epochs) + room
