"""Rule 7: final values are high enough."""

from qat_gate.criterion import criterion, run_ids
from qat_gate.decision import Criterion, Reason
from qat_gate.evidence import Evidence
from qat_gate.policy import FloorsRule
from qat_gate.summaries import RunSummary

TOLERANCE = 1e-9  # 0.40 - 0.01 is not 0.39 in binary; a metric has far fewer digits


def floors(evidence: Evidence) -> Criterion | None:
    """Every final value against FP32 and the same seed's baseline. None where the policy sets no floor."""
    rule = evidence.policy.floors
    if rule is None:
        return None
    judged = evidence.required()
    bounds = []
    if rule.min_fraction_of_fp32 is not None:
        bounds.append(f"{rule.min_fraction_of_fp32} x FP32")
    if rule.max_drop_below_baseline is not None:
        bounds.append(f"the same seed's baseline - {rule.max_drop_below_baseline}")
    text = f"The final value of every {evidence.policy.method} run is at least {' and '.join(bounds)}"
    reasons = [reason for run in judged for reason in (*_under_fp32(rule, run), *_under_baseline(rule, run, evidence))]
    return criterion(
        "7-floors",
        text=text,
        why=rule.reason,
        runs=judged,
        reasons=reasons,
        remedy="a higher final value of the runs named above",
    )


def _under_fp32(rule: FloorsRule, run: RunSummary) -> list[Reason]:
    if rule.min_fraction_of_fp32 is None:
        return []
    if run.metrics.fp32 is None:
        text = f"{run.label} has no FP32 reference"
        return [Reason(kind="insufficient-evidence", text=text, runs=(run.run_id,))]
    return _under(run, rule.min_fraction_of_fp32 * run.metrics.fp32, f"{rule.min_fraction_of_fp32} x FP32", ())


def _under_baseline(rule: FloorsRule, run: RunSummary, evidence: Evidence) -> list[Reason]:
    if rule.max_drop_below_baseline is None:
        return []
    found = [
        other
        for other in evidence.find(run.model.variant, "baseline", run.training.seed)
        if evidence.counts(other) and other.metrics.final_value is not None
    ]
    if not found:
        text = f"{run.label} has no baseline with a final value"
        return [Reason(kind="insufficient-evidence", text=text, runs=(run.run_id,))]
    floor = max(other.metrics.final_value or 0.0 for other in found) - rule.max_drop_below_baseline
    return _under(run, floor, f"its baseline - {rule.max_drop_below_baseline}", run_ids(found))


def _under(run: RunSummary, floor: float, name: str, beside: tuple[str, ...]) -> list[Reason]:
    final = run.metrics.final_value
    if final is not None and final >= floor - TOLERANCE:
        return []
    text = f"{run.label} ends at {'no value' if final is None else f'{final:.4f}'}, below {floor:.4f} ({name})"
    return [Reason(kind="below-floor", text=text, runs=(run.run_id, *beside))]
