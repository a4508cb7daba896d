"""What stands for a method, a seed and an event in every plot of a page.

Methods differ in colour and panel or place, seeds in line style and marker: colour is never the only cue. Six colours
are told apart by readers of any vision on light and dark pages; a seventh would not be. They go to the ladder's own
methods and to the first rows of other training runs; all other methods share a grey, and are known by their place.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from qat_report.comparison import Reference
from qat_report.grouping import Entry
from qat_report.methods import STANDING, rank
from qat_report.plots.svg import INK, METHODS, MUTED, OTHER, PlotRules
from qat_report.stability import COLLAPSE_RATIO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MOST_SEEDS = 9  # with a mark of their own; beyond that no reader tells them apart
EVENTS = {"nan-loss": "x", "nan-weights": "X", "rollback": "<", "scaler-skip": "|", "batch-halved": "d", "resumed": ">"}
OTHER_EVENT = "v"
_REFERENCE_LINES: dict[str, Any] = {"FP32": (0, (8, 2)), "PTQ": (0, (2, 2))}
_LEGEND_ROW = 7  # entries at most
_CLOSE = 0.09  # of a panel's span: labels of values closer than this would lie on each other


@attrs.frozen(kw_only=True)
class Sheet:
    """What the plots of one page share: the stand-in colour of each method, and where style declarations go.

    Every page gives the ladder's own methods the same colours; those without a colour of their own have OTHER.
    """

    rules: PlotRules
    colours: Mapping[str, str]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Sheet":
        """Colours of the methods of a page."""
        first: dict[str, str] = {}  # method of each training run, as its oscillation is named
        for entry in sorted(entries, key=lambda entry: _place(entry.method)):
            first.setdefault(entry.summary.trajectory_id, entry.method)
        heads = sorted(set(first.values()), key=_place)
        others = sorted({entry.method for entry in entries}, key=_place)
        methods = dict.fromkeys((*STANDING, *heads, *others))
        inks = (*METHODS, *[OTHER] * len(methods))
        return cls(rules=PlotRules(), colours=dict(zip(methods, inks, strict=False)))

    def css_class(self, method: str) -> str:
        """The class of the page's style sheet with a method's colour, such as "ink-0", or "ink-other"."""
        colour = self.colours[method]
        return f"ink-{METHODS.index(colour)}" if colour in METHODS else "ink-other"

    def tells_apart(self, methods: Sequence[str]) -> bool:
        """Whether colour alone tells these methods from each other."""
        return len({self.colours[method] for method in methods}) == len(methods)


def _place(method: str) -> tuple[int, str]:
    return rank(method), method


def line_of(index: int) -> Any:
    """Line style of the seed of this index."""
    return LINES[index % len(LINES)]


def marker_of(index: int) -> str:
    """Marker of the seed of this index."""
    return MARKERS[index % len(MARKERS)]


def seed_handles(seeds: Sequence[int], *, lines: bool) -> list["Line2D"]:
    """Legend entries of seeds, with their line or with their marker alone."""
    if len(seeds) > MOST_SEEDS:
        return [
            handle(f"{len(seeds)} seeds", marker="" if lines else "o", markersize=5, linestyle="-" if lines else "")
        ]
    return [
        handle(f"seed {seed}", marker=marker_of(i), markersize=5, linestyle=line_of(i) if lines else "")
        for i, seed in enumerate(seeds)
    ]


def handle(label: str, **look: Any) -> "Line2D":
    """A legend entry in ink."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"color": INK, "linestyle": "", "label": label} | look)


def legend(figure: "Figure", handles: Sequence["Line2D"]) -> None:
    """The legend above all panels, in rows of equal length."""
    rows = -(-len(handles) // _LEGEND_ROW)
    columns = -(-len(handles) // rows)
    by_column = [found for start in range(columns) for found in handles[start::columns]]  # as matplotlib fills it
    figure.legend(handles=by_column, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)


def hide_rest(figure: "Figure", used: int, columns: int) -> None:
    """Hide the panels after the first `used` ones; those above them end their columns, and name the epochs there."""
    for index in range(used, len(figure.axes)):
        figure.axes[index].set_visible(False)
        figure.axes[index - columns].tick_params(labelbottom=True)


def threshold_handle() -> "Line2D":
    """Legend entry of the collapse threshold."""
    share = {0.5: "half"}.get(COLLAPSE_RATIO, f"{COLLAPSE_RATIO:g}")
    return handle(f"{share} of a run's best: collapse", linewidth=0.9, linestyle=":")


def reference_lines(axes: "Axes", reference: Reference, *, labelled: bool, lying: bool = False) -> None:
    """FP32 and PTQ across a panel, where they lie inside it; their names stand at its right edge, or its upper one.

    Args:
        axes: a panel whose limits are set.
        reference: values.
        labelled: whether to name them.
        lying: whether the values run along x.
    """
    low, high = axes.get_xlim() if lying else axes.get_ylim()
    values = {"FP32": reference.fp32, "PTQ": reference.ptq}
    inside = {name: value for name, value in values.items() if value is not None and low <= value <= high}
    apart = _nudges(inside, _CLOSE * (high - low))
    for name, value in inside.items():
        line = axes.axvline if lying else axes.axhline
        line(value, color=MUTED, linewidth=1.1, linestyle=_REFERENCE_LINES[name], zorder=1.5)
        if labelled and lying:
            side = {-1: "right", 0: "center", 1: "left"}[apart[name]]
            axes.annotate(
                name, (value, 1.0), xycoords=("data", "axes fraction"), xytext=(2 * apart[name], 4),
                textcoords="offset points", ha=side, fontsize=9, color=MUTED, annotation_clip=False,
            )  # fmt: skip
        elif labelled:
            axes.annotate(
                name, (1.0, value), xycoords=("axes fraction", "data"), xytext=(4, 6 * apart[name]),
                textcoords="offset points", va="center", fontsize=9, color=MUTED, annotation_clip=False,
            )  # fmt: skip


def _nudges(values: Mapping[str, float], close: float) -> dict[str, int]:
    """-1, 0 or 1 by name: where two values are `close`, the lower one's label goes down and the higher one's up."""
    if len(values) < 2 or max(values.values()) - min(values.values()) >= close:
        return dict.fromkeys(values, 0)
    lower, higher = sorted(values, key=lambda name: (values[name], name == "FP32"))
    return {lower: -1, higher: 1}
