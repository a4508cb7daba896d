"""Rule 6, and what the decision says of structure: does the evidence fit the run asked for?"""

import attrs
import pytest

from qat_gate import Plan, PlannedCell, decide
from qat_gate.request import PROFILES


def reasons(decision):
    return [(reason.kind, reason.text) for criterion in decision.criteria for reason in criterion.reasons]


def with_profile(ladder, make, profile):
    overrides = {} if profile is None else {"profile": profile}
    return [
        make(run.model.variant, run.method.variant, run.training.seed, training__overrides=overrides)
        for run in ladder()
    ]


def test_evidence_that_fits_is_a_go_and_both_sides_are_named(policy, ladder, request_for):
    decision = decide(policy, ladder(), request=request_for())
    assert decision.passed
    assert decision.requested.fingerprints == decision.evidence.fingerprints
    assert (decision.evidence.profiles, decision.requested.profiles) == (("short",), ("short",))
    assert decision.evidence.quantization == ("w4a16 default",)


@pytest.mark.parametrize(
    ("changes", "kind", "name"),
    [
        ({"dataset__fingerprint": "f" * 64}, "not-comparable", "dataset.fingerprint"),
        ({"model__imgsz": 640}, "not-comparable", "model.imgsz"),
        ({"quantization__mode": "w3a16"}, "not-comparable", "quantization.mode"),
        ({"quantization__granularity": "per-tensor"}, "not-comparable", "quantization.granularity"),
        ({"quantization__policy": "all"}, "not-comparable", "quantization.policy"),
        ({"quantization__scale": {"init": "max", "learned": False}}, "not-comparable", "quantization.scale.init"),
        ({"quantization__scale": {"init": "mse", "learned": True}}, "not-comparable", "quantization.scale.learned"),
        ({"versions": {"qat-train": "0.2.0"}}, "stale", "code"),
    ],
)
def test_evidence_on_other_settings_than_asked_for_is_a_no_go_that_names_the_setting(
    policy, ladder, request_for, changes, kind, name
):
    decision = decide(policy, ladder(), request=request_for(**changes))
    assert [criterion.id for criterion in decision.criteria if not criterion.met] == ["6-fitness"]
    ((found, text),) = reasons(decision)
    assert found == kind
    assert text.startswith(f"{name} is ")
    assert "yolo10m asks for" in text


def test_a_fingerprint_that_is_not_known_yet_is_no_match(policy, ladder, request_for):
    decision = decide(policy, ladder(), request=request_for(dataset__fingerprint=None))
    assert [kind for kind, _ in reasons(decision)] == ["insufficient-evidence"]


@pytest.mark.parametrize("profile", [*PROFILES, None, "huge"])
def test_profiles_below_the_least_never_open_a_run_on_real_data(policy, ladder, make, request_for, profile):
    for request in (None, request_for()):
        decision = decide(policy, with_profile(ladder, make, profile), request=request)
        assert decision.passed == (profile in ("short", "full"))
        assert {kind for kind, _ in reasons(decision)} <= {"insufficient-evidence"}


@pytest.mark.parametrize("least", PROFILES)
@pytest.mark.parametrize("profile", PROFILES)
def test_tiny_and_demo_never_count_on_real_data_whatever_the_policy_says(
    changed, policy, ladder, make, request_for, least, profile
):
    lax = changed(fitness=attrs.evolve(policy.fitness, min_profile=least))
    runs = with_profile(ladder, make, profile)
    for request in (None, request_for()):
        allowed = profile not in ("tiny", "demo") and PROFILES.index(profile) >= PROFILES.index(least)
        assert decide(lax, runs, request=request).passed == allowed
    assert decide(lax, runs, request=request_for(drawn=True)).passed


@pytest.mark.parametrize("profile", ["tiny", "demo"])
def test_a_run_on_drawn_data_takes_demo_evidence_and_says_what_that_is_worth(
    policy, ladder, make, request_for, profile
):
    decision = decide(policy, with_profile(ladder, make, profile), request=request_for(drawn=True, profile=profile))
    assert decision.passed
    assert "yolo10m is asked for on drawn data: a GO here says nothing of real data" in decision.notes


def test_without_a_request_a_note_says_that_fitness_was_not_checked(policy, ladder):
    assert any("no request was given" in note for note in decide(policy, ladder()).notes)


def test_a_profile_that_was_changed_is_said(policy, ladder, make):
    runs = ladder()
    runs[0] = make("yolo10n", "baseline", 0, training__overrides={"profile": "short", "training.epochs": 12})
    assert "yolo10n: profile short with training.epochs=12" in decide(policy, runs).notes


def layer(name, bits=4):
    return {"name": name, "type": name, "bits": bits}


def test_layer_types_that_one_side_lacks_are_named_and_all_are_counted(policy, ladder, make, request_for):
    runs = [
        make(
            run.model.variant,
            run.method.variant,
            run.training.seed,
            quantization__layers=[layer("dense"), layer("dense"), layer("rep"), layer("dfl", None)],
        )
        for run in ladder()
    ]
    request = request_for(quantization__layers=[layer("dense"), layer("attention", 8)])
    decision = decide(policy, runs, request=request)
    assert decision.passed
    counts = {entry.type: entry.counts for entry in decision.structure}
    assert counts["dense"] == {"yolo10m": 1, "yolo10n": 2, "yolo10s": 2}
    assert counts.keys() == {"attention", "dense", "rep"}
    assert (
        "structure: quantized layer types of yolo10m that the evidence (yolo10n and yolo10s) lacks: attention"
        in decision.notes
    )
    assert (
        "structure: quantized layer types of yolo10n and yolo10s that yolo10m lacks: "
        "rep (1 in yolo10n, 1 in yolo10s)" in decision.notes
    )


def test_a_seed_that_the_plan_names_must_have_run(policy, ladder):
    planned = Plan(cells=(PlannedCell(variant="yolo10s", method="ema+qc", seed=7),)).cells
    decision = decide(policy, ladder(), planned=planned)
    assert ("missing", "there is no run of yolo10s ema+qc seed 7") in reasons(decision)
    assert not decision.passed


def test_an_override_is_recorded_and_changes_nothing(policy, ladder):
    decision = decide(policy, ladder()[1:], override="the cluster is free tonight")
    assert (decision.passed, decision.override) == (False, "the cluster is free tonight")
