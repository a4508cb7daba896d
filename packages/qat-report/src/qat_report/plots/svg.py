"""matplotlib figures as <svg> elements of a page: no script, no link, no inline style, the same bytes each time.

matplotlib draws with the stand-in colours of INKS; they are replaced by CSS variables, so that one SVG suits light and
dark pages and print. What it writes as style attributes becomes classes, whose rules stand in the page's one style
sheet: the page's content security policy can then name that sheet by its hash, and allow nothing else.
"""

import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import attrs

import qat_artifacts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHOD_INKS = 6
INKS = {
    "#000001": "var(--ink)",
    "#000002": "var(--muted)",
    "#000003": "var(--grid)",
    "#000004": "var(--heat)",
    "#000005": "var(--other)",
    **{f"#00010{index}": f"var(--method-{index})" for index in range(METHOD_INKS)},
}
INK, MUTED, GRID, HEAT, OTHER, *METHODS = INKS
STYLE: Any = {  # matplotlib types its keys as one long Literal
    "svg.fonttype": "none",  # text stays text: selectable, readable aloud, small
    "text.parse_math": False,  # a method's name is no formula
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
}
_NUMBERS = ("d", "x", "y", "width", "height", "transform")
_FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


@attrs.define
class PlotRules:
    """Declarations of the plots of one page, each once, as rules of its style sheet."""

    names: dict[str, str] = attrs.field(factory=dict)

    def name(self, declarations: str) -> str:
        """The class that stands for the text of a style attribute."""
        for stand_in, variable in INKS.items():
            declarations = declarations.replace(stand_in, variable)
        declarations = re.sub(r"'DejaVu Sans'[^;]*", _FONT, declarations)
        return self.names.setdefault(declarations, f"p{len(self.names)}")

    def css(self) -> str:
        """The rules, in the order in which they were first needed."""
        return "".join(f".{name} {{ {declarations} }}\n" for declarations, name in self.names.items())


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches of 72 units, that draws SVG and nothing else."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)  # the canvas registers itself: without pyplot there is no other
    return figure


def to_svg(figure: "Figure", rules: PlotRules, *, name: str, title: str, description: str) -> str:
    """The figure as an <svg> element that may stand in a page beside others; every text in it is escaped.

    Args:
        figure: made by `new_figure`.
        rules: takes up the declarations of its style attributes.
        name: unique in the page; begins its ids.
        title: what is plotted.
        description: what a reader who does not see the plot needs to know.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    # The salt makes ids repeatable, and different between figures: ids share one space in a page.
    with mpl.rc_context({"svg.hashsalt": name}):
        if engine := figure.get_layout_engine():
            engine.execute(figure)  # here, once: savefig would draw the whole figure twice for it
            figure.set_layout_engine("none")
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    # A name may hold control characters; XML may not.
    drawn = ET.fromstring(qat_artifacts.printable(buffer.getvalue()))  # noqa: S314 - as above
    root = ET.Element("svg", {"role": "img", "aria-labelledby": f"{name}-title {name}-text"})
    root.set("viewBox", drawn.attrib["viewBox"])
    for tag, text in (("title", title), ("desc", description)):
        ET.SubElement(root, tag, {"id": f"{name}-{tag if tag == 'title' else 'text'}"}).text = text
    root.extend(drawn)
    _tidy(root, rules)
    return qat_artifacts.printable(ET.tostring(root, encoding="unicode"))


def _tidy(root: ET.Element, rules: PlotRules) -> None:
    """Plain names instead of namespaces, classes instead of styles, no unused id, numbers of a hundredth of a unit."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style") or _empty(child):
                parent.remove(child)
    used = set(_references(root))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if element.tag not in ("text", "title", "desc"):
            element.text = None
        element.tail = None
        attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        if style := attributes.pop("style", None):
            attributes["class"] = rules.name(style)
        if element is not root and element.tag not in ("title", "desc") and attributes.get("id") not in used:
            attributes.pop("id", None)
        element.attrib.clear()
        element.attrib.update({n: _short(v) if n in _NUMBERS else v for n, v in attributes.items()})


def _empty(element: ET.Element) -> bool:
    return element.tag.endswith("}defs") and len(element) == 0


def _references(root: ET.Element) -> Iterable[str]:
    for element in root.iter():
        for value in element.attrib.values():
            if match := re.fullmatch(r"#([\w.-]+)|url\(#([\w.-]+)\)", value):
                yield match[1] or match[2]


def _short(value: str) -> str:
    """Numbers with more than two decimals, rounded to two; not those of a scale."""
    if "scale(" in value:
        return value
    return re.sub(
        r"-?\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), " ".join(value.split())
    )
