"""The core: policy and summaries in, decision out. No file, no clock, no state."""

from collections.abc import Iterable, Mapping
from itertools import pairwise

from qat_gate.comparability import code_version
from qat_gate.decision import Criterion, Decision, Settings
from qat_gate.errors import EvidenceError
from qat_gate.evidence import Evidence
from qat_gate.notes import notes
from qat_gate.policy import Policy
from qat_gate.request import PlannedCell, Request
from qat_gate.rules import RULES
from qat_gate.structure import layer_types, warnings
from qat_gate.summaries import RunSummary
from qat_gate.verifying import Verification


def decide(
    policy: Policy,
    summaries: Iterable[RunSummary],
    *,
    verified: Mapping[str, Verification] | None = None,
    planned: Iterable[PlannedCell] = (),
    lost: Iterable[PlannedCell] = (),
    request: Request | None = None,
    override: str | None = None,
) -> Decision:
    """Apply every rule of the policy; the gate passes where all are met.

    Runs of other variants and methods than the policy names are not looked at. The order of the summaries, and which
    numbers the seeds have, do not matter; one more bad run never turns a NO-GO into a GO.

    Args:
        policy: the rules.
        summaries: the evidence.
        verified: by run id, what `verify` found; a run without an entry counts as unverified.
        planned: cells of a plan; each of their seeds must have run.
        lost: cells that were planned or begun in a run root that holds no summary of them; a run of the same seed from
            another root does not replace one.
        request: the run asked for.
        override: why it will be started all the same; recorded, without influence on the decision.

    Raises:
        EvidenceError: two summaries carry one run id.
    """
    given = sorted(summaries, key=lambda run: run.run_id)
    twice = sorted({run.run_id for run, following in pairwise(given) if run.run_id == following.run_id})
    if twice:
        raise EvidenceError(f"run ids occur twice: {', '.join(twice)}; give each run once")
    evidence = Evidence(
        policy=policy,
        runs=tuple(r for r in given if r.model.variant in policy.variants and r.method.variant in policy.methods),
        verified=verified or {},
        planned=tuple(planned),
        lost=tuple(lost),
        request=request,
    )
    criteria = tuple(criterion for rule in RULES if (criterion := rule(evidence)) is not None)
    structure = layer_types(evidence)
    asked = warnings(structure, request.model.variant) if request else []
    return Decision(
        gate_name=policy.gate_name,
        passed=all(criterion.met for criterion in criteria),
        reason=_reason(criteria, len(evidence.runs)),
        override=override,
        criteria=criteria,
        evidence=_settings([run for run in evidence.runs if evidence.counts(run)]),
        requested=_requested(request) if request else None,
        structure=structure,
        admitted=tuple(run.run_id for run in evidence.runs if evidence.admitted(run)),
        notes=(*asked, *notes(evidence, given)),
    )


def _settings(runs: list[RunSummary]) -> Settings:
    return Settings(
        profiles=tuple(sorted({run.profile or "unknown" for run in runs})),
        fingerprints=tuple(sorted({run.dataset.fingerprint for run in runs})),
        imgsz=tuple(sorted({run.model.imgsz for run in runs})),
        quantization=tuple(sorted({f"{run.quantization.mode} {run.quantization.policy}" for run in runs})),
        code=tuple(sorted({code_version(run.versions) for run in runs})),
    )


def _requested(request: Request) -> Settings:
    return Settings(
        profiles=(request.profile,),
        fingerprints=(request.dataset.fingerprint,) if request.dataset.fingerprint else (),
        imgsz=(request.model.imgsz,),
        quantization=(f"{request.quantization.mode} {request.quantization.policy}",),
        code=(code_version(request.versions),),
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
