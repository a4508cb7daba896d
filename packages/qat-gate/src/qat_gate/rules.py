"""The rules of a gate, each a pure function of the evidence. None of them is ever met without a run to look at."""

from collections.abc import Callable, Iterator
from itertools import product

from qat_gate.comparability import differences
from qat_gate.criterion import criterion, run_ids
from qat_gate.decision import Criterion, Reason
from qat_gate.evidence import Evidence
from qat_gate.fitness import fitness
from qat_gate.floors import floors
from qat_gate.integrity import contradictions
from qat_gate.request import PlannedCell
from qat_gate.summaries import RunSummary
from qat_gate.verifying import Verification


def _absent(evidence: Evidence, variant: str, method: str) -> list[Reason]:
    """What keeps the cell from a run that counts for every known seed of the variant; empty where nothing does."""
    reasons = []
    for seed in evidence.seeds(variant):
        found = evidence.find(variant, method, seed)
        if any(evidence.counts(run) for run in found):
            if PlannedCell(variant=variant, method=method, seed=seed) in evidence.lost:
                text = (
                    f"{found[0].label} was planned or begun in a run root that holds no summary of it; "
                    "a run of that seed elsewhere does not replace it"
                )
                reasons.append(Reason(kind="missing", text=text, runs=run_ids(found)))
            continue
        if found:
            reasons.append(Reason(kind="incomplete", text=f"{found[0].label} did not finish", runs=run_ids(found)))
        else:
            reasons.append(Reason(kind="missing", text=f"there is no run of {variant} {method} seed {seed}", runs=()))
    if not evidence.seeds(variant):
        reasons.append(Reason(kind="missing", text=f"there is no run of {variant} {method}", runs=()))
    return reasons


def integrity(evidence: Evidence) -> Criterion:
    """Rule 1: best, final and class are derived again from the history, and the history from the inputs."""
    return criterion(
        "1-integrity",
        text="Best and final value and class of every run follow from its history, and that from the files it was "
        "made from",
        why=evidence.policy.integrity.reason,
        runs=evidence.runs,
        reasons=[reason for run in evidence.runs for reason in _untrue(evidence, run)],
        remedy="summaries as they were written from their runs, with those runs in place: summarize them again",
    )


def _untrue(evidence: Evidence, run: RunSummary) -> Iterator[Reason]:
    # The inputs of a run that does not count may still be growing.
    verification = evidence.verification(run) if evidence.counts(run) else Verification()
    if faults := (*contradictions(run), *verification.contradicted):
        yield Reason(kind="tampered", text=f"{run.label}: {'; '.join(faults)}", runs=(run.run_id,))
    if evidence.policy.integrity.inputs_required and verification.absent:
        text = f"{run.label}: {'; '.join(verification.absent)}"
        yield Reason(kind="unverifiable", text=text, runs=(run.run_id,))


def _repeated(runs: list[RunSummary]) -> Iterator[Reason]:
    """Seeds that passed through the same weights: one training run under two numbers."""
    holders: dict[str, dict[str, RunSummary]] = {}
    for run in runs:
        for point in run.metrics.history:
            if point.weights_sha256 is not None and point.value is not None:
                holders.setdefault(point.weights_sha256, {})[run.run_id] = run
    found: dict[tuple[str, ...], list[RunSummary]] = {}
    for held in holders.values():
        if len({run.training.seed for run in held.values()}) > 1:
            found[tuple(held)] = list(held.values())
    for ids, held_by in found.items():
        labels = " and ".join(run.label for run in held_by)
        text = f"{labels} have weights in common (SHA-256): they are one repetition"
        yield Reason(kind="insufficient-evidence", text=text, runs=ids)


def seeds(evidence: Evidence) -> Criterion:
    """Rule 2: enough independent runs, and none missing of a seed that another method of the variant has."""
    policy, rule = evidence.policy, evidence.policy.seeds
    reasons: list[Reason] = []
    held = {}
    for variant in policy.variants:
        counted = [run for run in evidence.required() if run.model.variant == variant]
        # The rows of one trajectory are one repetition, whatever seed they state.
        held[variant] = min(len({run.training.seed for run in counted}), len({run.trajectory_id for run in counted}))
        reasons += _absent(evidence, variant, policy.method)
        reasons += _repeated(counted)
        if counted and held[variant] < rule.min_seeds:
            text = f"{variant} {policy.method} has {held[variant]} independent seed(s), {rule.min_seeds} are needed"
            reasons.append(Reason(kind="insufficient-evidence", text=text, runs=run_ids(counted)))
    have = ", ".join(f"{variant} has {number}" for variant, number in held.items())
    return criterion(
        "2-seeds",
        text=f"At least {rule.min_seeds} seeds ({rule.recommended_seeds} recommended) of {policy.method} "
        f"for each of {', '.join(policy.variants)}",
        why=rule.reason,
        runs=[run for variant in policy.variants for run in evidence.find(variant, policy.method)],
        reasons=reasons,
        remedy=f"{rule.min_seeds} seeds or more of {policy.method} that ran to their end, for every variant ({have}); "
        f"{rule.recommended_seeds} are recommended",
    )


def stability(evidence: Evidence) -> Criterion:
    """Rule 3: every seed of a required cell has no finding but allowed ones."""
    policy, judged = evidence.policy, evidence.required()
    allowed = " or ".join(policy.stability.allowed_classes)
    reasons = [reason for run in judged for reason in _faults(run, policy.stability.allowed_classes)]
    for variant in policy.variants:
        if not any(run.model.variant == variant for run in judged):
            reasons.append(Reason(kind="missing", text=f"{variant} {policy.method} has no run to judge", runs=()))
    return criterion(
        "3-stability",
        text=f"Every seed of {policy.method} for {', '.join(policy.variants)} is {allowed}",
        why=policy.stability.reason,
        runs=judged,
        reasons=reasons,
        remedy=f"every {policy.method} run {allowed}; a seed that failed stays in the evidence, so another method or "
        "schedule needs a run root of its own",
    )


def _faults(run: RunSummary, allowed: tuple[str, ...]) -> list[Reason]:
    best, final = run.metrics.best_value, run.metrics.final_value
    level = "" if best is None or final is None else f": final {final:.4f}, best {best:.4f}"
    return [
        Reason(kind=finding, text=f"{run.label} is {finding}{level}", runs=(run.run_id,))
        for finding in run.stability.faults
        if finding not in allowed
    ]


def comparison(evidence: Evidence) -> Criterion:
    """Rule 4: the methods to compare with have a class, of whatever kind, for every required variant and seed."""
    policy = evidence.policy
    cells = list(product(policy.variants, policy.comparison.methods))
    methods = " and ".join(policy.comparison.methods)
    return criterion(
        "4-comparison",
        text=f"{methods} have a class for every seed of {', '.join(policy.variants)}",
        why=policy.comparison.reason,
        runs=[run for cell in cells for run in evidence.find(*cell)],
        reasons=[reason for cell in cells for reason in _absent(evidence, *cell)],
        remedy=f"runs of {methods} to their end for the variants and seeds named above",
    )


def comparability(evidence: Evidence) -> Criterion | None:
    """Rule 5: runs that count share data, evaluation, quantization, schedule and code. None where switched off."""
    rule = evidence.policy.comparability
    counted = [run for run in evidence.runs if evidence.counts(run)]
    if not rule.enabled:
        return None
    return criterion(
        "5-comparability",
        text="All runs share data, evaluation, image size and quantization policy; those of a variant also "
        "checkpoint, schedule, layers and code version",
        why=rule.reason,
        runs=counted,
        reasons=differences(counted),
        remedy="runs with the same settings: repeat those named above with the settings of the others",
    )


RULES: tuple[Callable[[Evidence], Criterion | None], ...] = (
    integrity,
    seeds,
    stability,
    comparison,
    comparability,
    fitness,
    floors,
)
