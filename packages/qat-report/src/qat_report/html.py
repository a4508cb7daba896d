"""index.html of a comparison: one file, readable offline, without script."""

from collections.abc import Sequence
from posixpath import dirname, join
from urllib.parse import quote

from qat_report import figures, tables
from qat_report.comparison import Comparison
from qat_report.grouping import Entry
from qat_report.stability import CLASSES
from qat_report.wording import OSCILLATION, SCOPE, gate_details, gate_sentence, override_of, per_tensor_scope


def comparison_html(comparison: Comparison, entries: Sequence[Entry]) -> str:
    """The page's text. Every value is escaped by the template; only the plots are markup, made here.

    Args:
        comparison: what to show.
        entries: its summaries, in the order of its rows.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("qat_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    gate = comparison.yolo10m_allowed
    return environment.get_template("index.html").render(
        comparison=comparison,
        variants=[_variant(comparison, entries, item.variant) for item in comparison.references],
        colours=figures.method_colours(entry.method for entry in entries),
        gate_sentence=gate_sentence(gate),
        against=[
            f"{entry.summary.run_id}: {text}" for entry in entries if (text := override_of(entry.summary)) is not None
        ],
        gate_details=gate_details(gate) if gate else [],
        oscillation=tables.oscillation_table(entries),
        oscillation_text=OSCILLATION,
        stability=tables.stability_table(entries),
        provenance=(tables.settings_table(entries), tables.provenance_table(entries), tables.versions_table(entries)),
        files=[_links(entry) for entry in entries],
        gate_link=quote(gate.gate) if gate else None,
        classes=(*CLASSES, "incomplete", "refused"),
        notes=(*comparison.notes, SCOPE),
        data=sorted({entry.summary.dataset.coco_root.rstrip("/").rpartition("/")[2] for entry in entries}),
    )


def _variant(comparison: Comparison, entries: Sequence[Entry], variant: str) -> dict[str, object]:
    from markupsafe import Markup

    methods = [entry.method for entry in entries]
    own = [entry for entry in entries if entry.variant == variant]
    cells = [cell for cell in comparison.cells if cell.variant == variant]
    reference = next(item for item in comparison.references if item.variant == variant)
    return {
        "name": variant,
        "methods": tables.methods_table(comparison, reference.variant),
        "scope": per_tensor_scope(entry.summary for entry in own),
        "paired": tables.paired_table(comparison, reference.variant),
        "attribution": [
            (tables.attribution_table(found), found.explained)
            for found in comparison.attribution
            if found.variant == variant
        ],
        "runs": tables.runs_table(comparison, reference.variant),
        "series": Markup(figures.series_svg(own, reference, methods)),  # noqa: S704 - matplotlib and `_inline` escape every text
        "finals": Markup(figures.finals_svg(own, cells, reference, methods)),  # noqa: S704 - as above
    }


def _links(entry: Entry) -> dict[str, str]:
    folder, files = dirname(entry.path), entry.summary.artifacts
    return {
        "run": entry.summary.run_id,
        "summary": quote(entry.path),
        "page": quote(join(folder, files.summary_md)),
        "results": quote(join(folder, files.results_csv)) if files.results_csv else "",
    }
