"""The core: policy and summaries in, decision out. No file, no clock, no state."""

from collections.abc import Iterable
from itertools import pairwise

from qat_gate.decision import Criterion, Decision
from qat_gate.errors import EvidenceError
from qat_gate.evidence import Evidence
from qat_gate.policy import Policy
from qat_gate.rules import RULES
from qat_gate.summaries import RunSummary


def decide(policy: Policy, summaries: Iterable[RunSummary]) -> Decision:
    """Apply every rule of the policy; the gate passes where all are met.

    Runs of other variants and methods than the policy names are not looked at. The order of the summaries, and which
    numbers the seeds have, do not matter; one more bad run never turns a NO-GO into a GO.

    Raises:
        EvidenceError: two summaries carry one run id.
    """
    given = sorted(summaries, key=lambda run: run.run_id)
    twice = sorted({run.run_id for run, following in pairwise(given) if run.run_id == following.run_id})
    if twice:
        raise EvidenceError(f"run ids occur twice: {', '.join(twice)}; give each run once")
    runs = tuple(run for run in given if run.model.variant in policy.variants and run.method.variant in policy.methods)
    evidence = Evidence(policy=policy, runs=runs)
    criteria = tuple(criterion for rule in RULES if (criterion := rule(evidence)) is not None)
    return Decision(
        gate_name=policy.gate_name,
        passed=all(criterion.met for criterion in criteria),
        reason=_reason(criteria, len(runs)),
        criteria=criteria,
        admitted=tuple(run.run_id for run in runs if evidence.admitted(run)),
        notes=tuple(_notes(evidence, given)),
    )


def _reason(criteria: tuple[Criterion, ...], runs: int) -> str:
    unmet = [criterion for criterion in criteria if not criterion.met]
    if not unmet:
        return f"all {len(criteria)} rules are met by {runs} runs"
    firsts = []
    for criterion in unmet:
        more = len(criterion.reasons) - 1
        firsts.append(f"{criterion.id}: {criterion.reasons[0].text}{f' (and {more} more)' if more else ''}")
    return f"{len(unmet)} of {len(criteria)} rules are not met. {'. '.join(firsts)}."


def _notes(evidence: Evidence, given: list[RunSummary]) -> list[str]:
    policy, notes = evidence.policy, []
    for variant in policy.variants:
        found = {run.training.seed for run in evidence.required() if run.model.variant == variant}
        if policy.seeds.min_seeds <= len(found) < policy.seeds.recommended_seeds:
            notes.append(f"{variant} has {len(found)} seeds, {policy.seeds.recommended_seeds} are recommended")
    for run in evidence.runs:
        if evidence.admitted(run):
            notes.append(f"{run.label} is incomplete and counts because the policy includes {run.run_id}")
        elif not evidence.counts(run):
            notes.append(f"{run.label} is {run.status} and does not count ({run.run_id})")
    known = {run.run_id for run in evidence.runs}
    notes += [f"include names {name}, which is no run of this gate" for name in policy.include if name not in known]
    if not policy.comparability.enabled:
        notes.append(f"comparability is switched off: {policy.comparability.reason}")
    if others := len(given) - len(evidence.runs):
        notes.append(f"{others} run(s) of other variants or methods were not looked at")
    return notes
