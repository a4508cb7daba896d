"""Every rule is needed: without it, a planted case that it alone catches would pass."""

import pytest

from qat_gate import PlannedCell, Verification, comparability, decide, deciding, fitness, rules
from qat_gate.evidence import Evidence
from qat_gate.policy import FloorsRule, IntegrityRule


@pytest.fixture
def cases(policy, changed, ladder, make, request_for):
    """Name of the check: arguments of decide() for a case that only this check catches."""
    runs = ladder()
    ids = [run.run_id for run in runs]

    def swap(**changes):
        return [*(r for r in runs if r.run_id != ids[-1]), make("yolo10s", "ema+qc", 1, **changes)]

    strict = changed(integrity=IntegrityRule(reason="inputs", inputs_required=True))
    verified = dict.fromkeys(ids, Verification())
    floor = changed(floors=FloorsRule(reason="useful", min_fraction_of_fp32=0.95))
    return {
        "integrity": ((policy, swap(metrics__best_value=0.9)), {}),
        "seeds": ((policy, ladder((0,))), {}),
        "stability": ((policy, swap(findings=["collapsed"])), {}),
        "comparison": ((policy, [r for r in runs if r.method.variant != "baseline"]), {}),
        "comparability": ((policy, swap(dataset__val_fingerprint="other")), {}),
        "fitness": ((policy, runs), {"request": request_for(model__imgsz=640)}),
        "floors": ((floor, runs), {}),
        "history": ((policy, swap(values=(0.1, 0.4, 0.05, 0.05, 0.05, 0.4))), {}),
        "inputs": (
            (strict, runs),
            {"verified": verified | {ids[0]: Verification(contradicted=("metrics.jsonl is another file",))}},
        ),
        "absent inputs": ((strict, runs), {"verified": verified | {ids[0]: Verification(absent=("run.json",))}}),
        "planned seeds": ((policy, runs), {"planned": [PlannedCell(variant="yolo10n", method="ema+qc", seed=5)]}),
        "code": ((policy, swap(versions={"qat-train": "0.0.1"})), {}),
        "profile": (
            (policy, [make(r.model.variant, r.method.variant, r.training.seed, training__overrides={}) for r in runs]),
            {},
        ),
        "request": ((policy, runs), {"request": request_for(quantization__policy="all")}),
        "incomplete": ((policy, swap(status="incomplete")), {}),
    }


def mutate(monkeypatch, name):
    """Take one check out."""
    by_name = {rule.__name__: rule for rule in rules.RULES}
    if name in by_name:
        monkeypatch.setattr(deciding, "RULES", tuple(r for n, r in by_name.items() if n != name))
    elif name == "history":
        monkeypatch.setattr(rules, "contradictions", lambda _run: ())
    elif name in ("inputs", "absent inputs"):
        monkeypatch.setattr(Evidence, "verification", lambda *_: Verification())
    elif name == "planned seeds":
        monkeypatch.setattr(Evidence, "seeds", lambda self, v: sorted({r.training.seed for r in self.find_all(v)}))
        monkeypatch.setattr(
            Evidence, "find_all", lambda self, v: [r for r in self.runs if r.model.variant == v], raising=False
        )
    elif name == "code":
        monkeypatch.setattr(comparability, "code_version", lambda _versions: "")
    elif name == "profile":
        monkeypatch.setattr(fitness, "_too_light", lambda *_: ())
    elif name == "request":
        monkeypatch.setattr(fitness, "_unfit", lambda *_: ())
    elif name == "incomplete":
        monkeypatch.setattr(Evidence, "counts", lambda *_: True)


CHECKS = (
    *(rule.__name__ for rule in rules.RULES),
    *("history", "inputs", "absent inputs", "planned seeds", "code", "profile", "request", "incomplete"),
)


@pytest.mark.parametrize("name", CHECKS)
def test_without_this_check_a_planted_case_would_pass(monkeypatch, cases, name):
    arguments, options = cases[name]
    assert not decide(*arguments, **options).passed
    mutate(monkeypatch, name)
    assert decide(*arguments, **options).passed


def test_the_evidence_without_a_plant_passes(policy, ladder, request_for):
    assert decide(policy, ladder(), request=request_for()).passed
