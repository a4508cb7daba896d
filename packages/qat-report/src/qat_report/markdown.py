"""The Markdown pages: of one run, and of a comparison."""

import re
from collections.abc import Sequence
from posixpath import dirname, join
from urllib.parse import quote

from qat_report import run_tables, tables
from qat_report.comparison import Comparison, GateOutcome
from qat_report.grouping import Entry
from qat_report.summary import RunSummary, Variant
from qat_report.tables import Table
from qat_report.wording import OSCILLATION, SCOPE, gate_details, gate_sentence, override_of, per_tensor_scope

_MARKUP = re.compile(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^(?=#|[-+] ))")


def escape(text: str) -> str:
    """Text that Markdown shows as it is, also in a table cell: no markup, no HTML, one line."""
    plain = " ".join(text.split())
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        plain = plain.replace(character, entity)
    return _MARKUP.sub(r"\\\1", plain)


def render(table: Table) -> str:
    """A table in GitHub's dialect."""
    lines = [table.columns, ("---",) * len(table.columns), *(tuple(map(escape, row)) for row in table.rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def run_page(summary: RunSummary, *, gate: GateOutcome | None = None) -> str:
    """summary.md of one run; a function of the summary and the gate's decision, so that it can be written again."""
    stability = summary.stability
    why = [f"- {escape(text)}" for text in (*stability.reasons, *([summary.error] if summary.error else []))]
    events = [f"- event: {escape(e.kind)} at epoch {e.epoch}: {escape(e.detail)}" for e in stability.events]
    skipped = [f"- not checked: {escape(text)}" for text in stability.not_checked]
    parts = [
        f"# {escape(summary.run_id)}\n",
        f"{escape(summary.model.variant)}, method {escape(summary.method.variant)}, seed {summary.training.seed}. "
        f"Trajectory {escape(summary.trajectory_id)}, created {escape(summary.created_at)}, "
        f"commit {escape(tables.git_state(summary))}.\n",
        f"**{stability.run_class}** ({summary.status})\n",
        *([f"**STARTED AGAINST THE GATE: {escape(text)}**\n"] if (text := override_of(summary)) else []),
        *(["\n".join([*why, *events, *skipped]) + "\n"] if why or events or skipped else []),
        f"Gate decision: {escape(gate_sentence(gate))}\n",
        *([_bullets(gate_details(gate))] if gate else []),
        "## Numbers\n",
        render(run_tables.run_numbers_table(summary)),
        f"{escape(per_tensor_scope([summary]) or SCOPE)}\n",
        "## Series\n",
        render(run_tables.history_table(summary)),
        "## Settings\n",
        render(run_tables.run_settings_table(summary)),
    ]
    return "\n".join(parts)


def comparison_page(comparison: Comparison, entries: Sequence[Entry]) -> str:
    """summary.md of a comparison."""
    parts = ["# Comparison\n", "## Verdict\n", _bullets(comparison.verdict)]
    parts += ["## yolo10m\n", f"Gate decision: {escape(gate_sentence(comparison.yolo10m_allowed))}\n"]
    if comparison.yolo10m_allowed:
        parts.append(_bullets(gate_details(comparison.yolo10m_allowed)))
    for reference in comparison.references:
        parts += _variant(comparison, entries, reference.variant)
    parts += [
        "## Stability\n",
        render(tables.stability_table(entries)),
        *_section("Oscillation", tables.oscillation_table(entries), OSCILLATION),
        "## Notes\n",
        _bullets((*comparison.notes, SCOPE)),
        "## Provenance\n",
        render(tables.settings_table(entries)),
        render(tables.provenance_table(entries)),
        render(tables.versions_table(entries)),
        "## Files\n",
        "".join(f"- {_links(entry)}\n" for entry in entries),
    ]
    return "\n".join(parts)


def _variant(comparison: Comparison, entries: Sequence[Entry], variant: Variant) -> list[str]:
    own = [entry.summary for entry in entries if entry.variant == variant]
    scope = per_tensor_scope(own)
    paired = tables.paired_table(comparison, variant)
    parts = [f"## {escape(variant)}\n", render(tables.methods_table(comparison, variant))]
    parts += [f"{escape(scope)}\n"] if scope else []
    parts += [render(paired)] if paired else []
    for found in comparison.attribution:
        if found.variant == variant:
            parts += _section(f"Where {variant} gains", tables.attribution_table(found), found.explained, level=3)
    return [*parts, render(tables.runs_table(comparison, variant))]


def _section(title: str, table: Table | None, text: str, *, level: int = 2) -> list[str]:
    return [] if table is None else [f"{'#' * level} {escape(title)}\n", render(table), f"{escape(text)}\n"]


def _bullets(sentences: Sequence[str]) -> str:
    return "".join(f"- {escape(text)}\n" for text in sentences)


def _links(entry: Entry) -> str:
    folder, files = dirname(entry.path), entry.summary.artifacts
    targets = {"summary": entry.path, "page": join(folder, files.summary_md)}
    if files.results_csv:  # a refused run has none
        targets["results"] = join(folder, files.results_csv)
    return f"{escape(entry.summary.run_id)}: " + ", ".join(f"[{n}]({quote(path)})" for n, path in targets.items())
