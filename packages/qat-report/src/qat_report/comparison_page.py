"""summary.md of a comparison: the skeleton of index.html, for a pull request."""

from posixpath import dirname, join
from urllib.parse import quote

from qat_report import provenance, tables
from qat_report.comparison import Comparison
from qat_report.contents import Contents, Section
from qat_report.exports import exports_table
from qat_report.grouping import Entry
from qat_report.markdown import bullets, escape, render, section
from qat_report.oscillation import layer_table
from qat_report.per_class import class_table
from qat_report.pictures import picture_text
from qat_report.wording import EXPORTS, OSCILLATION, SCOPE, gate_details, gate_sentence, per_tensor_scope

_CLASSES = 10  # the page has all of them


def comparison_page(contents: Contents) -> str:
    """The page's text."""
    comparison, entries = contents.comparison, contents.entries
    gate = comparison.yolo10m_allowed
    answers = [f"- **{escape(c.question)}** {escape(c.text)}\n" for c in comparison.claims if c.question]
    parts = ["# Comparison\n", "## Verdict\n", "".join(answers), bullets(comparison.verdict)]
    parts += ["## yolo10m\n", f"Gate decision: {escape(gate_sentence(gate))}\n"]
    parts += [bullets(gate_details(gate))] if gate else []
    for part in contents.sections:
        parts += _variant(contents, part)
    parts += [
        "## Stability\n",
        render(tables.stability_table(entries)),
        *section("Oscillation", tables.oscillation_table(entries), OSCILLATION),
        *section("Exported models", exports_table(comparison.exports), EXPORTS),
        *_pictures(comparison),
        "## Notes\n",
        bullets((*comparison.notes, *contents.gaps, SCOPE)),
        "## Provenance\n",
        render(provenance.settings_table(entries)),
    ]
    given = provenance.given_table(entries)
    parts += [render(given)] if given else []
    parts += [
        render(provenance.provenance_table(entries)),
        render(provenance.versions_table(entries)),
        "## What each sentence rests on\n",
        render(tables.claims_table(comparison)),
        "## Files\n",
        "".join(f"- {_links(entry)}\n" for entry in entries),
    ]
    return "\n".join(parts)


def _variant(contents: Contents, part: Section) -> list[str]:
    comparison, variant = contents.comparison, part.variant
    scope = per_tensor_scope(entry.summary for entry in part.entries)
    paired = tables.paired_table(comparison, variant)
    parts = [f"## {escape(variant)}\n", render(tables.methods_table(comparison, variant))]
    parts += [f"{escape(scope)}\n"] if scope else []
    parts += [render(paired)] if paired else []
    for found in comparison.attribution:
        if found.variant == variant:
            parts += section(f"Where {variant} gains", tables.attribution_table(found), found.explained, level=3)
    parts.append(render(tables.runs_table(comparison, variant)))
    if part.classes is not None:
        shown = min(_CLASSES, len(part.classes.classes))
        text = f"AP50-95, mean over counted seeds; {shown} of {len(part.classes.classes)} classes, largest loss first."
        parts += section(f"Classes of {variant}", class_table(part.classes, most=_CLASSES), text, level=3)
    return parts + section(
        f"Layers of {variant} that oscillate most",
        layer_table(part.entries, part.runs),
        "Share of a layer's weights that oscillate in the last epoch, mean over seeds; a column per training run.",
        level=3,
    )


def _pictures(comparison: Comparison) -> list[str]:
    links = [
        f"- {escape(row.run_id)}: [picture]({quote(row.pictures.file)}), {escape(picture_text(row.pictures))}\n"
        for row in comparison.exports
        if row.pictures
    ]
    return ["".join(links)] if links else []


def _links(entry: Entry) -> str:
    folder, files = dirname(entry.path), entry.summary.artifacts
    targets = {"summary": entry.path, "page": join(folder, files.summary_md)}
    if files.results_csv:  # a refused run has none
        targets["results"] = join(folder, files.results_csv)
    return f"{escape(entry.summary.run_id)}: " + ", ".join(f"[{n}]({quote(path)})" for n, path in targets.items())
