"""What stands for a method, a seed and an event in every plot of a page.

Methods differ in colour and panel or place, seeds in line style and marker: colour is never the only cue.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from qat_report.comparison import Reference
from qat_report.methods import STANDING, rank
from qat_report.plots.svg import INK, METHOD_INKS, METHODS, MUTED, PlotRules
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


@attrs.frozen(kw_only=True)
class Sheet:
    """What the plots of one page share: the stand-in colour of each method, and where style declarations go."""

    rules: PlotRules
    colours: Mapping[str, str]

    @classmethod
    def of(cls, methods: Iterable[str]) -> "Sheet":
        """Colours of the methods of a page; those of the ladder's own are the same on every page."""
        others = sorted(set(methods) - set(STANDING), key=lambda method: (rank(method), method))
        colours = {method: METHODS[index % METHOD_INKS] for index, method in enumerate((*STANDING, *others))}
        return cls(rules=PlotRules(), colours=colours)

    def css_class(self, method: str) -> str:
        """The class of the page's style sheet with a method's colour, such as "ink-0"."""
        return f"ink-{METHODS.index(self.colours[method])}"


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
    """The legend above all panels."""
    figure.legend(
        handles=list(handles), loc="outside upper center", ncols=min(len(handles), 7), frameon=False, fontsize=9
    )


def threshold_handle() -> "Line2D":
    """Legend entry of the collapse threshold."""
    share = {0.5: "half"}.get(COLLAPSE_RATIO, f"{COLLAPSE_RATIO:g}")
    return handle(f"{share} of a run's best: collapse", linewidth=0.9, linestyle=":")


def reference_lines(axes: "Axes", reference: Reference, *, labelled: bool) -> None:
    """FP32 and PTQ across a panel, where they lie inside it; their names stand at its right edge."""
    low, high = axes.get_ylim()
    for name, value, style in (("FP32", reference.fp32, (0, (8, 2))), ("PTQ", reference.ptq, (0, (2, 2)))):
        if value is None or not low <= value <= high:
            continue
        axes.axhline(value, color=MUTED, linewidth=1.1, linestyle=style, zorder=1.5)
        if labelled:
            axes.annotate(
                name, (1.0, value), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=9, color=MUTED, annotation_clip=False,
            )  # fmt: skip
