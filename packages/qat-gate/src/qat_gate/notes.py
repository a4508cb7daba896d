"""What a reader of a decision should know and no rule judges."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from qat_gate.evidence import Evidence
from qat_gate.summaries import RunSummary


def notes(evidence: Evidence, given: Sequence[RunSummary]) -> list[str]:
    """Sentences beside a decision on `evidence`, which was chosen from `given`."""
    policy, found = evidence.policy, [*_seeds(evidence), *_images(evidence), *_won_nothing(evidence)]
    for run in evidence.runs:
        if evidence.admitted(run):
            found.append(f"{run.label} is incomplete and counts because the policy includes {run.run_id}")
        elif not evidence.counts(run):
            found.append(f"{run.label} is {run.status} and does not count ({run.run_id})")
    if not policy.integrity.inputs_required:
        unseen = [run.run_id for run in evidence.runs if evidence.counts(run) and evidence.verification(run).absent]
        if unseen:
            found.append(f"the histories of {len(unseen)} run(s) were not checked against their inputs")
    if evidence.request is None:
        found.append("no request was given: whether the evidence fits the run asked for was not checked")
    elif evidence.request.drawn:
        found.append(
            f"{evidence.request.model.variant} is asked for on drawn data: a GO here says nothing of real data"
        )
    found += _changed(evidence)
    known = {run.run_id for run in evidence.runs}
    found += [f"include names {name}, which is no run of this gate" for name in policy.include if name not in known]
    if not policy.comparability.enabled:
        found.append(f"comparability is switched off: {policy.comparability.reason}")
    if others := len(given) - len(evidence.runs):
        found.append(f"{others} run(s) of other variants or methods were not looked at")
    return found


def _seeds(evidence: Evidence) -> Iterator[str]:
    rule = evidence.policy.seeds
    for variant in evidence.policy.variants:
        found = {run.training.seed for run in evidence.required() if run.model.variant == variant}
        if rule.min_seeds <= len(found) < rule.recommended_seeds:
            yield f"{variant} has {len(found)} seeds, {rule.recommended_seeds} are recommended"


def _images(evidence: Evidence) -> Iterator[str]:
    """How many images the evidence rests on: a profile asks for a number, and takes what there is."""
    for train, val in sorted({(r.dataset.train_images, r.dataset.val_images) for r in evidence.required()}):
        if train and val:
            yield f"trained on {train} images, evaluated on {val}"


def _won_nothing(evidence: Evidence) -> Iterator[str]:
    """Stable is no praise: a method may end, stably, below the same weights quantized and not trained at all."""
    for variant in evidence.policy.variants:
        pairs = [
            (run.metrics.final_value, run.metrics.ptq)
            for run in evidence.required()
            if run.model.variant == variant and run.metrics.final_value is not None and run.metrics.ptq is not None
        ]
        if pairs and (final := fmean(f for f, _ in pairs)) < (ptq := fmean(p for _, p in pairs)):
            yield (
                f"{variant} {evidence.policy.method} ends at {final:.4f} in the mean, below PTQ without any training "
                f"({ptq:.4f}): this training wins nothing"
            )


def _changed(evidence: Evidence) -> list[str]:
    """What runs that count were given beside their profile: a profile's name alone can promise too much."""
    found: dict[str, list[str]] = {}
    for run in evidence.runs:
        if evidence.counts(run):
            keys = sorted(k for k in run.training.overrides if k.startswith(("training.", "data.train", "data.val")))
            text = ", ".join(f"{key}={run.training.overrides[key]}" for key in keys)
            found.setdefault(f"profile {run.profile} with {text}" if text else "", []).append(run.model.variant)
    return [f"{', '.join(sorted(set(of)))}: {text}" for text, of in sorted(found.items()) if text]
