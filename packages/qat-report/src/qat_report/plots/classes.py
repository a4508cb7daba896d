"""AP50-95 by class."""

from collections.abc import Sequence
from typing import Any

from qat_report.methods import STANDING
from qat_report.per_class import REFERENCES, PerClass
from qat_report.plots.marks import Sheet, handle, legend
from qat_report.plots.svg import GRID, INK, MUTED, STYLE, new_figure, to_svg

MOST_CLASSES = 20  # those that lose most
_MOST_METHODS = 3
_SHAPES = ("o", "s", "^")
_REFERENCE_LOOK: dict[str, dict[str, Any]] = {
    "FP32": {"marker": "|", "markersize": 13, "markeredgewidth": 2.2, "color": INK},
    "PTQ": {"marker": "x", "markersize": 6, "color": MUTED},
}


def classes_svg(found: PerClass, variant: str, sheet: Sheet) -> str:
    """A row per class that loses most: FP32, PTQ and the ladder's own methods, or the first three there are."""
    import matplotlib as mpl

    classes = found.classes[:MOST_CLASSES]
    methods = [column for column in found.columns if column not in REFERENCES]
    shown = ([method for method in methods if method in STANDING] or methods)[:_MOST_METHODS]
    looks = {name: look for name, look in _REFERENCE_LOOK.items() if name in found.columns}
    looks |= {m: {"marker": _SHAPES[i], "markersize": 7, "color": sheet.colours[m]} for i, m in enumerate(shown)}
    with mpl.rc_context(STYLE):
        figure = new_figure(10.4, 0.9 + 0.24 * len(classes))
        axes = figure.subplots()
        for y, name in enumerate(classes):
            values = [value for column in looks if (value := found.values[column].get(name)) is not None]
            axes.plot([min(values, default=0.0), max(values, default=0.0)], [y, y], color=GRID, linewidth=3, zorder=1)
        for column, look in looks.items():
            points = [(found.values[column][name], y) for y, name in enumerate(classes) if name in found.values[column]]
            axes.plot([x for x, _ in points], [y for _, y in points], linestyle="", clip_on=False, **look)
        axes.set_yticks(range(len(classes)), classes, fontsize=9)
        axes.set_ylim(len(classes) - 0.4, -0.6)
        axes.set_xlim(left=-0.015)  # a mark at 0 stays clear of the names
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel("AP50-95")
        legend(figure, [handle(column, **look) for column, look in looks.items()])
        return to_svg(
            figure,
            sheet.rules,
            name=f"classes-{variant}",
            title=f"AP50-95 by class, {variant}",
            description=_spoken(found, classes, list(looks)),
        )


def _spoken(found: PerClass, classes: Sequence[str], columns: Sequence[str]) -> str:
    return "; ".join(
        f"{name}: " + ", ".join(f"{c} {found.values[c][name]:.4f}" for c in columns if name in found.values[c])
        for name in classes
    )
