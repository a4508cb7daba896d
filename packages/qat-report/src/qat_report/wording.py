"""Sentences that every page must say alike."""

from qat_report.comparison import GateOutcome
from qat_report.summary import RunSummary

SCOPE = (
    "Only weights are quantized here; activations stay floating point. The paper behind EMA and QC (Gupta and Asthana, "
    "WACV 2024, arXiv 2311.05109) quantizes weights and activations, per tensor: its numbers are not comparable with "
    "these."
)


def gate_sentence(gate: GateOutcome | None) -> str:
    """The decision in one line."""
    if gate is None:
        return "not evaluated"
    against = f" OVERRIDDEN: {gate.override}" if gate.override and not gate.passed else ""
    return f"{'GO' if gate.passed else 'NO-GO'}: {gate.reason}{against}"


def gate_details(gate: GateOutcome) -> list[str]:
    """Every criterion, and why it is not met."""
    lines = []
    for criterion in gate.criteria:
        reasons = "; ".join(reason.text for reason in criterion.reasons)
        lines.append(f"{'met' if criterion.met else 'NOT met'}: {criterion.text}{f' ({reasons})' if reasons else ''}")
    return lines + [f"note: {note}" for note in gate.notes]


def override_of(summary: RunSummary) -> str | None:
    """Why a run was started against the gate; None where it was not."""
    found = summary.training.overrides.get("gate.override")
    return found if isinstance(found, str) else None
