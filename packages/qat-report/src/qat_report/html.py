"""index.html of a comparison: one file, readable offline, without script."""

import base64
import hashlib
from importlib.resources import files
from posixpath import dirname, join
from typing import Any
from urllib.parse import quote

from qat_report import plots, provenance, tables
from qat_report.comparison import Claim, Comparison
from qat_report.contents import Contents, Section
from qat_report.exports import exports_table
from qat_report.grouping import Entry
from qat_report.oscillation import layer_table
from qat_report.per_class import class_table
from qat_report.plots.classes import MOST_CLASSES
from qat_report.plots.marks import MOST_SEEDS
from qat_report.plots.svg import OTHER
from qat_report.stability import CLASSES
from qat_report.wording import (
    EXPORTS,
    OSCILLATION,
    SCOPE,
    gate_details,
    gate_sentence,
    override_of,
    per_tensor_scope,
    shorten,
    visible,
)


def comparison_html(contents: Contents) -> str:
    """The page's text. Every value is escaped by the template; only the plots are markup, made here."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("qat_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "shorten": shorten}
    comparison, entries = contents.comparison, contents.entries
    gate = comparison.yolo10m_allowed
    sheet = plots.Sheet.of(entries)
    variants = [_variant(contents, part, sheet) for part in contents.sections]
    style = f"{files('qat_report').joinpath('templates/style.css').read_text(encoding='utf-8')}{sheet.rules.css()}"
    return environment.get_template("index.html").render(
        comparison=comparison,
        style=Markup(style),  # noqa: S704 - our own sheet, and declarations of matplotlib, which hold no text of an input
        policy=_policy(style, pictures=bool(contents.pictures)),
        variants=variants,
        answers=[(claim, _rests(claim, comparison)) for claim in comparison.claims if claim.question],
        sentences=[(claim, _rests(claim, comparison)) for claim in comparison.claims if not claim.question],
        anchors=_anchors(comparison),
        most_seeds=MOST_SEEDS,
        inks={method: sheet.css_class(method) for method in sheet.colours},
        gate_sentence=gate_sentence(gate),
        against=[
            f"{entry.summary.run_id}: {text}" for entry in entries if (text := override_of(entry.summary)) is not None
        ],
        gate_details=gate_details(gate) if gate else [],
        oscillation=tables.oscillation_table(entries),
        oscillation_text=OSCILLATION,
        exports=exports_table(comparison.exports),
        exports_text=EXPORTS,
        pictures=contents.pictures,
        more_pictures=sum(row.pictures is not None for row in comparison.exports) - len(contents.pictures),
        stability=tables.stability_table(entries),
        settings=provenance.settings_table(entries),
        given=provenance.given_table(entries),
        origins=provenance.provenance_table(entries),
        versions=provenance.versions_table(entries),
        files=[_links(entry) for entry in entries],
        gate_link=quote(gate.gate) if gate else None,
        export_links=[
            (row.run_id, quote(row.export), quote(row.pictures.file) if row.pictures else None)
            for row in comparison.exports
        ],
        classes=(*CLASSES, "incomplete", "refused"),
        notes=(*comparison.notes, *contents.gaps, SCOPE),
        data=sorted({entry.summary.dataset.coco_root.rstrip("/").rpartition("/")[2] for entry in entries}),
    )


def _policy(style: str, *, pictures: bool) -> str:
    """Nothing may be loaded or run; the one style sheet is named by its hash, so none can be slipped in.

    Images may be those that stand in the page itself, where there are any.
    """
    images = "img-src data:; " if pictures else ""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; {images}style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _variant(contents: Contents, part: Section, sheet: plots.Sheet) -> dict[str, Any]:
    from markupsafe import Markup

    comparison, variant = contents.comparison, part.variant
    cells = [cell for cell in comparison.cells if cell.variant == variant]
    drawn = {
        "series": plots.series_svg(part.entries, part.reference, sheet),
        "finals": plots.finals_svg(part.entries, cells, part.reference, sheet),
        "moved": plots.oscillation_svg(part.runs, variant, sheet) if part.runs else None,
        "layers": plots.layers_svg(part.runs, variant, sheet) if part.runs else None,
        "classes": plots.classes_svg(part.classes, variant, sheet) if part.classes else None,
    }
    return {
        "name": variant,
        "methods": tables.methods_table(comparison, variant),
        "scope": per_tensor_scope(entry.summary for entry in part.entries),
        "paired": tables.paired_table(comparison, variant),
        "attribution": [
            (tables.attribution_table(found), found.explained)
            for found in comparison.attribution
            if found.variant == variant
        ],
        "runs": tables.runs_table(comparison, variant),
        "grey": any(sheet.colours[cell.method] == OTHER for cell in cells),
        "arms_apart": bool(part.runs) and plots.apart(part.runs, sheet),
        "layer_table": layer_table(part.entries, part.runs),
        "class_table": class_table(part.classes) if part.classes else None,
        "shown_classes": min(MOST_CLASSES, len(part.classes.classes)) if part.classes else 0,
        # matplotlib and ElementTree escape every text
        "plots": {name: Markup(svg) if svg else None for name, svg in drawn.items()},  # noqa: S704
    }


def _anchors(comparison: Comparison) -> dict[str, list[str]]:
    """Of each variant, the ids of its rows in the order of its table of runs."""
    found: dict[str, list[str]] = {}
    for index, row in enumerate(comparison.rows):
        found.setdefault(row.variant, []).append(f"row-{index}")
    return found


def _rests(claim: Claim, comparison: Comparison) -> list[tuple[str, list[tuple[str, int]]]] | None:
    """(method, (anchor, seed) of each row) that a sentence rests on; None for all rows."""
    if len(claim.rows) == len(comparison.rows):
        return None
    several = len({row.variant for row in comparison.rows}) > 1
    wanted = set(claim.rows)
    found: dict[str, list[tuple[str, int]]] = {}
    for index, row in enumerate(comparison.rows):
        if row.run_id in wanted:
            name = f"{row.variant} {row.method}" if several else row.method
            found.setdefault(name, []).append((f"row-{index}", row.seed))
    return list(found.items())


def _links(entry: Entry) -> dict[str, str]:
    folder, made = dirname(entry.path), entry.summary.artifacts
    return {
        "run": entry.summary.run_id,
        "summary": quote(entry.path),
        "page": quote(join(folder, made.summary_md)),
        "results": quote(join(folder, made.results_csv)) if made.results_csv else "",
    }
