"""Plots as inline SVG: no script, no link, colours from the page's style sheet, the same bytes for the same input.

matplotlib draws with the stand-in colours of INKS; they are replaced by CSS variables, so that one SVG suits light and
dark pages and print. Methods differ in colour and panel, seeds in line style and marker: colour is never the only cue.
"""

import io
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from qat_report.cells import counted
from qat_report.comparison import Cell, Reference
from qat_report.grouping import Entry
from qat_report.methods import rank
from qat_report.numbers import metric
from qat_report.stability import COLLAPSE_RATIO
from qat_report.wording import after

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHOD_INKS = 6
INKS = {
    "#000001": "var(--ink)",
    "#000002": "var(--muted)",
    "#000003": "var(--grid)",
    **{f"#00010{index}": f"var(--method-{index})" for index in range(METHOD_INKS)},
}
_INK, _MUTED, _GRID, *_METHODS = INKS
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_PANELS = 3  # side by side
_STANDING = ("baseline", "ema", "ema+qc")
_STARS: dict[str, Any] = {"after QC": "*", "after BN": "p", "after BN + QC": (8, 1, 0)}
_UPRIGHT = 6  # more names than these do not fit beside each other
_STYLE: Any = {  # matplotlib types its keys as one long Literal
    "svg.fonttype": "none",  # text stays text: selectable, readable aloud, small
    "text.parse_math": False,  # a method's name is no formula
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
}


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """CSS value of each method's colour: the same in every plot of a page; that of the ladder's own methods in all."""
    return {method: INKS[colour] for method, colour in _stand_ins(methods).items()}


def _stand_ins(methods: Iterable[str]) -> dict[str, str]:
    others = sorted(set(methods) - set(_STANDING), key=lambda method: (rank(method), method))
    return {method: _METHODS[index % METHOD_INKS] for index, method in enumerate((*_STANDING, *others))}


def series_svg(entries: Sequence[Entry], reference: Reference, methods_shown: Iterable[str]) -> str:
    """mAP50-95 per epoch of one variant: a panel per method, a line per seed, references and collapse thresholds.

    `methods_shown` are the methods of the whole page: they fix the colours.
    """
    import matplotlib as mpl

    colours = _stand_ins(methods_shown)
    methods = list(dict.fromkeys(entry.method for entry in entries))
    seeds = sorted({entry.seed for entry in entries})
    columns = min(len(methods), _PANELS)
    rows = -(-len(methods) // _PANELS)
    with mpl.rc_context(_STYLE):
        figure = _figure(10.4, 0.7 + 2.9 * rows)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        top = max([*_values(entries), reference.fp32 or 0.0, reference.ptq or 0.0, 1e-3])
        axes[0].set_ylim(0.0, 1.08 * top)
        for index, (panel, method) in enumerate(zip(axes, methods, strict=False)):
            own = [entry for entry in entries if entry.method == method]
            _panel(panel, own, seeds, colours[method], reference, labelled=index % columns == columns - 1)
            panel.set_title(method, loc="left", fontweight="bold", fontsize=11)
        for panel in list(axes)[len(methods) :]:
            panel.set_visible(False)
        figure.axes[0].set_ylabel("mAP50-95")
        figure.supxlabel("epoch", fontsize=10, color=_INK)
        _seed_legend(figure, seeds, stars=_stars(entries))
        return _svg(figure, f"series-{reference.variant}", f"mAP50-95 per epoch, {reference.variant}", _spoken(entries))


def finals_svg(
    entries: Sequence[Entry], cells: Sequence[Cell], reference: Reference, methods_shown: Iterable[str]
) -> str:
    """Final mAP50-95 of every run of one variant: a place per method, a mark per seed, a bar at the mean.

    Runs of one trajectory are joined: they are paired. A run that no mean counts is a cross. The axis spans FP32 and
    the counted runs, for their differences are the subject; what lies outside stands at the edge with its number.
    """
    import matplotlib as mpl

    colours = _stand_ins(methods_shown)
    methods = [cell.method for cell in cells]
    crowded = len(methods) > _UPRIGHT
    seeds = sorted({entry.seed for entry in entries})
    with mpl.rc_context(_STYLE):
        figure = _figure(10.4, 3.6)
        axes = figure.subplots()
        low, high = _span(entries, reference)
        axes.set_ylim(low, high)
        _reference_lines(axes, reference, labelled=True)
        offsets = {seed: (i - (len(seeds) - 1) / 2) * min(0.12, 0.5 / len(seeds)) for i, seed in enumerate(seeds)}
        for trajectory in dict.fromkeys(entry.summary.trajectory_id for entry in entries):
            joined = [e for e in entries if e.summary.trajectory_id == trajectory and counted(e)]
            xs = [methods.index(entry.method) + offsets[entry.seed] for entry in joined]
            axes.plot(xs, [_final(entry) for entry in joined], color=_GRID, linewidth=1.2, zorder=1)
        for index, cell in enumerate(cells):
            colour = colours[cell.method]
            ended = [e for e in entries if e.method == cell.method and e.summary.metrics.final_value is not None]
            for entry in ended:
                marker = _MARKERS[seeds.index(entry.seed) % len(_MARKERS)] if counted(entry) else "x"
                x, y = index + offsets[entry.seed], _final(entry)
                axes.plot(
                    x,
                    min(max(y, low), high),
                    marker=marker,
                    color=colour,
                    markersize=5 if crowded else 8,
                    zorder=3,
                    clip_on=False,
                )
                if not low <= y <= high:
                    axes.annotate(
                        metric(y), (x, low if y < low else high), xytext=(8, 6 if y < low else -8),
                        textcoords="offset points", va="center", fontsize=9, color=_MUTED,
                    )  # fmt: skip
            if cell.mean is not None:
                axes.plot([index - 0.26, index + 0.26], [cell.mean] * 2, color=colour, linewidth=2.6, zorder=2)
                if not crowded:  # the number would lie on the next method's marks; the table has it
                    axes.annotate(metric(cell.mean), (index + 0.28, cell.mean), va="center", fontsize=9)
        axes.set_xlim(-0.6, len(methods) - 0.4)
        axes.set_xticks(
            range(len(methods)), methods, rotation=30 if crowded else 0, ha="right" if crowded else "center"
        )
        axes.tick_params(axis="x", length=0, labelsize=11, labelcolor=_INK)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_ylabel("final mAP50-95")
        _seed_legend(figure, seeds, lines=False)
        return _svg(figure, f"finals-{reference.variant}", f"Final mAP50-95, {reference.variant}", _spoken(entries))


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)  # the canvas registers itself: without pyplot there is no other
    return figure


def _panel(
    axes: "Axes", entries: Sequence[Entry], seeds: Sequence[int], colour: str, reference: Reference, *, labelled: bool
) -> None:
    from matplotlib.ticker import MaxNLocator

    _reference_lines(axes, reference, labelled=labelled)
    for entry in entries:
        index = seeds.index(entry.seed)
        history = entry.summary.metrics.history
        points = [(point.epoch, float("nan") if point.value is None else point.value) for point in history]
        axes.plot(
            [epoch for epoch, _ in points],
            [value for _, value in points],
            color=colour,
            linestyle=_LINES[index % len(_LINES)],
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=4,
            alpha=1.0 if counted(entry) else 0.6,
        )
        for point in history:
            if point.stage == "qc" and point.value is not None:
                marker = _STARS[after(entry.summary.method.qc.stages)]
                axes.plot(point.epoch, point.value, marker=marker, markersize=12, color=colour, markeredgecolor=_INK)
        if entry.summary.metrics.best_value:
            axes.axhline(COLLAPSE_RATIO * entry.summary.metrics.best_value, color=colour, linewidth=0.9, linestyle=":")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def _reference_lines(axes: "Axes", reference: Reference, *, labelled: bool) -> None:
    low, high = axes.get_ylim()
    for name, value, style in (("FP32", reference.fp32, (0, (8, 2))), ("PTQ", reference.ptq, (0, (2, 2)))):
        if value is None or not low <= value <= high:
            continue
        axes.axhline(value, color=_MUTED, linewidth=1.1, linestyle=style, zorder=1.5)
        if labelled:
            axes.annotate(
                name, (1.0, value), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=9, color=_MUTED, annotation_clip=False,
            )  # fmt: skip


def _seed_legend(figure: "Figure", seeds: Sequence[int], *, lines: bool = True, stars: Sequence[str] = ()) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], color=_INK, marker=_MARKERS[i % len(_MARKERS)], markersize=5,
            linestyle=_LINES[i % len(_LINES)] if lines else "", label=f"seed {seed}",
        )
        for i, seed in enumerate(seeds)
    ]  # fmt: skip
    if lines:
        handles.append(Line2D([], [], color=_INK, linewidth=0.9, linestyle=":", label="half of a run's best: collapse"))
        handles += [Line2D([], [], color=_INK, linestyle="", marker=_STARS[t], markersize=10, label=t) for t in stars]
    else:
        handles.append(Line2D([], [], color=_INK, linestyle="", marker="x", label="not counted"))
        handles.append(Line2D([], [], color=_INK, linewidth=2.6, label="mean"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 7), frameon=False, fontsize=9)


def _stars(entries: Sequence[Entry]) -> list[str]:
    """The corrections of which a point is drawn."""
    found = {
        after(entry.summary.method.qc.stages)
        for entry in entries
        for point in entry.summary.metrics.history
        if point.stage == "qc" and point.value is not None
    }
    return [label for label in _STARS if label in found]


def _span(entries: Sequence[Entry], reference: Reference) -> tuple[float, float]:
    values = [_final(entry) for entry in entries if counted(entry)]
    values += [reference.fp32] if reference.fp32 is not None else []
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = max(0.15 * (high - low), 0.005)  # half a point of mAP on either side of equal values
    return max(low - margin, 0.0), min(high + margin, 1.0)


def _final(entry: Entry) -> float:
    value = entry.summary.metrics.final_value
    return float("nan") if value is None else value


def _values(entries: Iterable[Entry]) -> list[float]:
    return [point.value for entry in entries for point in entry.summary.metrics.history if point.value is not None]


def _spoken(entries: Sequence[Entry]) -> str:
    """What a reader who does not see the plot needs to know."""
    runs = (
        f"{entry.method} seed {entry.seed}: best {metric(entry.summary.metrics.best_value)}, "
        f"final {metric(entry.summary.metrics.final_value)}, {entry.summary.stability.run_class}"
        for entry in entries
    )
    return "; ".join(runs)


def _svg(figure: "Figure", name: str, title: str, description: str) -> str:
    """The figure as an <svg> element that may stand in a page beside others."""
    import matplotlib as mpl

    buffer = io.StringIO()
    # The salt makes ids repeatable, and different between figures: ids share one space in a page.
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return _inline(buffer.getvalue(), name, title, description)


def _inline(document: str, name: str, title: str, description: str) -> str:
    opening = re.search(r'<svg[^>]*viewBox="([^"]+)"[^>]*>', document)
    assert opening is not None  # matplotlib writes one
    body = document[opening.end() :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<defs>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\n?", "", body, flags=re.DOTALL)  # repeats every text
    used = set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', body))
    body = re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in used else "", body)
    body = body.replace("'DejaVu Sans'", "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif")
    for stand_in, variable in INKS.items():
        body = body.replace(stand_in, variable)
    label = f"{name}-title {name}-text"
    return (
        f'<svg role="img" aria-labelledby="{label}" viewBox="{opening[1]}">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-text">{escape(description)}</desc>{body}'
    )
