"""summary.md of one run."""

from qat_report import run_tables
from qat_report.comparison import GateOutcome
from qat_report.markdown import bullets, escape, render
from qat_report.provenance import git_state
from qat_report.summary import RunSummary
from qat_report.wording import SCOPE, gate_details, gate_sentence, override_of, per_tensor_scope


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
        f"commit {escape(git_state(summary))}.\n",
        f"**{stability.run_class}** ({summary.status})\n",
        *([f"**STARTED AGAINST THE GATE: {escape(text)}**\n"] if (text := override_of(summary)) else []),
        *(["\n".join([*why, *events, *skipped]) + "\n"] if why or events or skipped else []),
        f"Gate decision: {escape(gate_sentence(gate))}\n",
        *([bullets(gate_details(gate))] if gate else []),
        "## Numbers\n",
        render(run_tables.run_numbers_table(summary)),
        f"{escape(per_tensor_scope([summary]) or SCOPE)}\n",
        "## Series\n",
        render(run_tables.history_table(summary)),
        "## Settings\n",
        render(run_tables.run_settings_table(summary)),
    ]
    return "\n".join(parts)
