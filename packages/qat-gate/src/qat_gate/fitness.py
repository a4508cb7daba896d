"""Rule 6: the evidence fits the run that is asked for, and weighs enough."""

from collections.abc import Iterator

from qat_gate.comparability import code_version
from qat_gate.criterion import criterion
from qat_gate.decision import Criterion, Reason, ReasonKind
from qat_gate.evidence import Evidence
from qat_gate.request import PROFILES, Profile, Request
from qat_gate.summaries import RunSummary

LEAST_ON_REAL_DATA: Profile = "smoke"


def fitness(evidence: Evidence) -> Criterion:
    """Rule 6: same data, image size, quantization and code as the run asked for; profile at least `min_profile`.

    Evidence on drawn data opens a run on drawn data whatever its profile. On real data tiny and demo never count,
    whatever the policy says. Without a request the profile alone is looked at, as for real data.
    """
    rule = evidence.policy.fitness
    counted = [run for run in evidence.runs if evidence.counts(run)]
    asked = evidence.request
    reasons: list[Reason] = []
    least = rule.min_profile
    if asked is None or not asked.drawn:
        least = max(least, LEAST_ON_REAL_DATA, key=PROFILES.index)
        reasons += _too_light(counted, least)
    if asked is not None:
        reasons += _unfit(counted, asked)
    what = f"{asked.model.variant} as asked for" if asked else "the run to be opened"
    return criterion(
        "6-fitness",
        text=f"Runs have the data, image size, quantization and code of {what}, and profile {least} or above",
        why=rule.reason,
        runs=counted,
        reasons=reasons,
        remedy=f"runs of the variants above on the data and at the settings asked for, with --profile {least} or above",
    )


def _too_light(runs: list[RunSummary], least: str) -> Iterator[Reason]:
    for profile in sorted({run.profile for run in runs}, key=str):
        if profile in PROFILES and PROFILES.index(profile) >= PROFILES.index(least):
            continue
        ids = tuple(run.run_id for run in runs if run.profile == profile)
        given = "do not say their profile" if profile is None else f"have profile {profile}"
        yield Reason(kind="insufficient-evidence", text=f"{len(ids)} run(s) {given}, {least} is needed", runs=ids)


def _unfit(runs: list[RunSummary], asked: Request) -> Iterator[Reason]:
    if asked.dataset.fingerprint is None and runs:
        text = f"the data of {asked.model.variant} are not prepared, so their fingerprint is not known"
        yield Reason(kind="insufficient-evidence", text=text, runs=())
    wanted = {
        "dataset.fingerprint": asked.dataset.fingerprint,
        "model.imgsz": asked.model.imgsz,
        "quantization.mode": asked.quantization.mode,
        "quantization.granularity": asked.quantization.granularity,
        "quantization.scale.init": asked.quantization.scale.init,
        "quantization.scale.learned": asked.quantization.scale.learned,
        "quantization.policy": asked.quantization.policy,
        "code": code_version(asked.versions),
    }
    for name, value in wanted.items():
        if value is None:
            continue
        held: dict[object, list[str]] = {}
        for run in runs:
            held.setdefault(_setting(run, name), []).append(run.run_id)
        for other, ids in held.items():
            if other != value:
                kind: ReasonKind = "stale" if name == "code" else "not-comparable"
                text = f"{name} is {_short(other)} in {', '.join(ids)}; {asked.model.variant} asks for {_short(value)}"
                yield Reason(kind=kind, text=text, runs=tuple(ids))


def _setting(run: RunSummary, name: str) -> object:
    if name == "code":
        return code_version(run.versions)
    found: object = run
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
