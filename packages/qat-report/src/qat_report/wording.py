"""Sentences that every page must say alike."""

from qat_report.comparison import GateOutcome

SCOPE = (
    "Only weights are quantized here; activations stay floating point. The paper behind EMA and QC (Gupta and Asthana, "
    "WACV 2024, arXiv 2311.05109) quantizes weights and activations, per tensor: its numbers are not comparable with "
    "these."
)


def gate_sentence(gate: GateOutcome | None) -> str:
    """The decision in one line."""
    if gate is None:
        return "not evaluated"
    return f"{'GO' if gate.passed else 'NO-GO'}: {gate.reason}"


def gate_details(gate: GateOutcome) -> list[str]:
    """Every criterion, and why it is not met."""
    lines = []
    for criterion in gate.criteria:
        reasons = "; ".join(reason.text for reason in criterion.reasons)
        lines.append(f"{'met' if criterion.met else 'NOT met'}: {criterion.text}{f' ({reasons})' if reasons else ''}")
    return lines
