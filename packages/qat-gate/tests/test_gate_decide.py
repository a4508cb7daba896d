"""What the gate decides, rule by rule, on planted evidence."""

import attrs
import pytest

from qat_gate import EvidenceError, PlannedCell, decide
from qat_gate.policy import ComparabilityRule, FloorsRule, StabilityRule


def unmet(decision):
    return [criterion.id for criterion in decision.criteria if not criterion.met]


def reasons(decision):
    """(kind, text) of every reason of every rule."""
    return [(reason.kind, reason.text) for criterion in decision.criteria for reason in criterion.reasons]


def without(runs, *ids):
    return [run for run in runs if run.run_id not in ids]


def swapped(runs, *replacements):
    ids = {run.run_id for run in replacements}
    return [*without(runs, *ids), *replacements]


def test_two_stable_seeds_of_every_cell_are_a_go_and_the_recommendation_is_said(policy, ladder):
    decision = decide(policy, ladder())
    assert decision.passed
    assert decision.reason == "all 6 rules are met by 12 runs"
    assert [criterion.id for criterion in decision.criteria] == [
        "1-integrity",
        "2-seeds",
        "3-stability",
        "4-comparison",
        "5-comparability",
        "6-fitness",
    ]
    assert all(criterion.satisfied_by is None for criterion in decision.criteria)
    assert decision.notes[:2] == ("yolo10n has 2 seeds, 3 are recommended", "yolo10s has 2 seeds, 3 are recommended")


def test_three_seeds_leave_nothing_to_recommend(policy, ladder):
    assert not any("recommended" in note for note in decide(policy, ladder((0, 1, 2))).notes)


def test_how_many_images_the_evidence_rests_on_is_said(policy, ladder):
    assert "trained on 256 images, evaluated on 64" in decide(policy, ladder()).notes


def test_a_training_that_ends_below_ptq_is_stable_and_said_to_win_nothing(policy, ladder):
    def lifted(run, ptq):
        return attrs.evolve(run, metrics=attrs.evolve(run.metrics, ptq=ptq))

    runs = [lifted(run, 0.41 if run.model.variant == "yolo10s" else 0.40) for run in ladder()]
    decision = decide(policy, runs)
    assert decision.passed  # a matter of the floors, which the policy may set
    assert [note for note in decision.notes if "below PTQ" in note] == [
        "yolo10s ema+qc ends at 0.4000 in the mean, below PTQ without any training (0.4100): this training wins nothing"
    ]


def test_each_rule_carries_the_reason_the_policy_gives_for_it(policy, ladder):
    decision = decide(policy, ladder())
    assert decision.criteria[1].why == "one run shows nothing"
    assert decision.criteria[1].text == "At least 2 seeds (3 recommended) of ema+qc for each of yolo10n, yolo10s"


def test_no_run_at_all_meets_no_rule(policy):
    decision = decide(policy, [])
    assert not decision.passed
    assert unmet(decision) == [criterion.id for criterion in decision.criteria]
    assert {kind for kind, _ in reasons(decision)} == {"missing"}


def test_runs_of_the_gated_variant_are_not_evidence(policy, make, ladder):
    decision = decide(policy, [make("yolo10m", "ema+qc", seed) for seed in range(3)])
    assert not decision.passed
    assert "3 run(s) of other variants or methods were not looked at" in decision.notes
    assert decide(policy, [*ladder(), make("yolo10m", "baseline", values=(), status="refused")]).passed


def test_a_variant_without_runs_is_missing_and_named(policy, ladder):
    decision = decide(policy, [run for run in ladder() if run.model.variant == "yolo10n"])
    assert unmet(decision) == ["2-seeds", "3-stability", "4-comparison"]
    assert reasons(decision) == [
        ("missing", "there is no run of yolo10s ema+qc"),
        ("missing", "yolo10s ema+qc has no run to judge"),
        ("missing", "there is no run of yolo10s baseline"),
        ("missing", "there is no run of yolo10s ema"),
    ]
    assert decision.criteria[1].satisfied_by == (
        "2 seeds or more of ema+qc that ran to their end, for every variant (yolo10n has 2, yolo10s has 0); "
        "3 are recommended"
    )


def test_one_seed_is_insufficient_evidence(policy, ladder):
    decision = decide(policy, ladder((0,)))
    assert unmet(decision) == ["2-seeds"]
    assert reasons(decision) == [
        ("insufficient-evidence", "yolo10n ema+qc has 1 independent seed(s), 2 are needed"),
        ("insufficient-evidence", "yolo10s ema+qc has 1 independent seed(s), 2 are needed"),
    ]


def test_rows_of_one_trajectory_are_one_repetition_whatever_seed_they_state(policy, ladder):
    copied = [attrs.evolve(run, trajectory_id=f"{run.model.variant}-w4-seed0") for run in ladder()]
    assert unmet(decide(policy, copied)) == ["2-seeds"]


def test_a_training_run_under_two_seeds_is_one_repetition(policy, ladder, make):
    again = [
        attrs.evolve(make("yolo10s", method, 0), run_id=f"copy/{method}", trajectory_id="copy")
        for method in ("baseline", "ema", "ema+qc")
    ]
    copied = [attrs.evolve(run, training=attrs.evolve(run.training, seed=2)) for run in again]
    decision = decide(policy, [*ladder(), *copied])
    assert reasons(decision) == [
        (
            "insufficient-evidence",
            "yolo10s ema+qc seed 2 and yolo10s ema+qc seed 0 have weights in common (SHA-256): they are one repetition",
        ),
    ]
    assert unmet(decision) == ["2-seeds"]


def test_a_cell_that_its_root_lost_is_missing_though_another_root_has_that_seed(policy, ladder):
    gone = PlannedCell(variant="yolo10s", method="ema+qc", seed=1)
    assert reasons(decide(policy, ladder(), lost=[gone])) == [
        (
            "missing",
            "yolo10s ema+qc seed 1 was planned or begun in a run root that holds no summary of it; "
            "a run of that seed elsewhere does not replace it",
        ),
    ]


def test_a_cell_that_was_begun_and_has_no_summary_anywhere_is_missing(policy, ladder):
    decision = decide(policy, ladder(), lost=[PlannedCell(variant="yolo10s", method="ema+qc", seed=2)])
    assert ("missing", "there is no run of yolo10s ema+qc seed 2") in reasons(decision)
    assert unmet(decision) == ["2-seeds", "4-comparison"]


def test_planned_and_lost_cells_of_other_methods_and_variants_are_nothing_to_the_policy(policy, ladder):
    others = [
        PlannedCell(variant="yolo10n", method="dampening", seed=5),
        PlannedCell(variant="yolo10m", method="ema+qc", seed=5),
    ]
    assert decide(policy, ladder(), planned=others, lost=others).passed


def test_a_seed_of_another_method_without_the_required_one_is_missing(policy, ladder, make):
    decision = decide(policy, [*ladder(), make("yolo10n", "baseline", 2), make("yolo10n", "ema", 2)])
    assert reasons(decision) == [("missing", "there is no run of yolo10n ema+qc seed 2")]


def test_a_required_seed_without_its_baseline_is_missing(policy, ladder):
    decision = decide(policy, without(ladder(), "yolo10s-w4-seed1/baseline"))
    assert unmet(decision) == ["4-comparison"]
    assert reasons(decision) == [("missing", "there is no run of yolo10s baseline seed 1")]


@pytest.mark.parametrize("kind", ["diverged", "collapsed", "no-signal", "frozen-metric", "insufficient", "recovered"])
def test_one_seed_of_a_required_cell_with_another_class_is_a_no_go_that_names_the_class(policy, ladder, make, kind):
    decision = decide(policy, swapped(ladder(), make("yolo10n", "ema+qc", 1, findings=[kind])))
    assert unmet(decision) == ["3-stability"]
    assert [(found, text.partition(":")[0]) for found, text in reasons(decision)] == [
        (kind, f"yolo10n ema+qc seed 1 is {kind}")
    ]
    assert decision.criteria[2].reasons[0].runs == ("yolo10n-w4-seed1/ema+qc",)


def test_a_third_seed_that_collapsed_counts_against_two_stable_ones(policy, ladder, make):
    collapsed = make("yolo10s", "ema+qc", 2, values=(0.1, 0.3, 0.4, 0.02, 0.01, 0.01), findings=["collapsed"])
    decision = decide(policy, swapped(ladder((0, 1, 2)), collapsed))
    assert reasons(decision) == [("collapsed", "yolo10s ema+qc seed 2 is collapsed: final 0.0100, best 0.4000")]


def test_every_finding_must_be_allowed_not_the_worst_alone(changed, policy, ladder, make):
    lenient = changed(stability=attrs.evolve(policy.stability, allowed_classes=("stable", "recovered")))
    recovered = make("yolo10n", "ema+qc", 1, findings=["recovered"])
    assert decide(lenient, swapped(ladder(), recovered)).passed
    both = make("yolo10n", "ema+qc", 1, findings=["insufficient", "recovered"])
    assert [kind for kind, _ in reasons(decide(lenient, swapped(ladder(), both)))] == ["insufficient"]


def test_a_collapsed_baseline_is_an_outcome_not_an_obstacle(policy, ladder, make):
    collapsed = make("yolo10n", "baseline", 0, values=(0.1, 0.3, 0.4, 0.02, 0.01, 0.01), findings=["collapsed"])
    assert decide(policy, swapped(ladder(), collapsed)).passed


def test_an_incomplete_run_does_not_count_and_is_said_so(policy, ladder, make):
    cut = make("yolo10n", "ema+qc", 1, status="incomplete", findings=["insufficient"], values=(0.1, 0.2))
    decision = decide(policy, swapped(ladder(), cut))
    assert unmet(decision) == ["2-seeds"]
    assert reasons(decision) == [
        ("incomplete", "yolo10n ema+qc seed 1 did not finish"),
        ("insufficient-evidence", "yolo10n ema+qc has 1 independent seed(s), 2 are needed"),
    ]
    assert "yolo10n ema+qc seed 1 is incomplete and does not count (yolo10n-w4-seed1/ema+qc)" in decision.notes


def test_an_incomplete_run_that_the_policy_includes_counts_and_is_listed(changed, ladder, make):
    cut = make("yolo10n", "ema+qc", 1, status="incomplete", values=(0.1, 0.2, 0.3, 0.31, 0.3))
    decision = decide(changed(include=(cut.run_id,)), swapped(ladder(), cut))
    assert decision.passed
    assert decision.admitted == (cut.run_id,)


def test_an_included_run_is_still_judged_by_what_it_shows(changed, ladder, make):
    cut = make("yolo10n", "ema+qc", 1, status="incomplete", values=(0.4, 0.01), findings=["collapsed", "insufficient"])
    decision = decide(changed(include=(cut.run_id,)), swapped(ladder(), cut))
    assert [kind for kind, _ in reasons(decision)] == ["collapsed", "insufficient"]


def test_a_refused_run_cannot_be_included(changed, ladder, make):
    refused = make("yolo10n", "ema+qc", 1, status="refused", values=())
    decision = decide(changed(include=(refused.run_id,)), swapped(ladder(), refused))
    assert unmet(decision) == ["2-seeds"]
    assert decision.admitted == ()


def test_including_a_run_that_is_not_there_is_said(changed, ladder):
    decision = decide(changed(include=("typo",)), ladder())
    assert "include names typo, which is no run of this gate" in decision.notes


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model__imgsz", 640),
        ("model__checkpoint_sha256", "other"),
        ("dataset__fingerprint", "other"),
        ("dataset__val_fingerprint", "other"),
        ("dataset__classes", ["cat"]),
        ("training__epochs", 12),
        ("training__effective_batch", 8),
        ("training__amp", True),
        ("evaluation__head", "one2many"),
        ("evaluation__conf", 0.25),
        ("quantization__mode", "w3a16"),
        ("quantization__weight_bit_width", 3),
        ("quantization__granularity", "per-tensor"),
        ("quantization__policy", "all"),
        ("quantization__layers", []),
        ("metrics__primary_name", "metrics/mAP50(B)"),
    ],
)
def test_a_run_with_another_setting_is_not_comparable_and_named(policy, ladder, make, key, value):
    odd = make("yolo10s", "ema+qc", 1, **{key: value})
    decision = decide(policy, swapped(ladder(), odd))
    assert unmet(decision) == ["5-comparability"]
    found = decision.criteria[4].reasons
    assert {reason.kind for reason in found} == {"not-comparable"}
    assert {reason.runs for reason in found} == {(odd.run_id,)}
    assert [reason.text.partition(" ")[0] for reason in found] == [key.replace("__", ".")]


def test_a_run_that_more_devices_trained_is_not_comparable_and_which_they_are_does_not_matter(policy, ladder, make):
    two = make("yolo10s", "ema+qc", 1, training__device="cuda:0,cuda:1")
    decision = decide(policy, swapped(ladder(), two))
    assert reasons(decision) == [
        ("not-comparable", "training.ranks is 2 in yolo10s-w4-seed1/ema+qc; most runs have 1"),
    ]
    other = make("yolo10s", "ema+qc", 1, training__device="cuda:3")
    assert unmet(decide(policy, swapped(ladder(), other))) == []


def test_the_deviating_value_and_the_common_one_are_both_said(policy, ladder, make):
    decision = decide(policy, swapped(ladder(), make("yolo10s", "ema+qc", 1, model__imgsz=640)))
    assert reasons(decision) == [
        ("not-comparable", "model.imgsz is 640 in yolo10s-w4-seed1/ema+qc; most runs have 320"),
    ]


def test_a_run_of_an_older_minor_of_the_training_code_is_stale(policy, ladder, make):
    decision = decide(policy, swapped(ladder(), make("yolo10s", "ema+qc", 1, versions={"qat-train": "0.0.9"})))
    assert reasons(decision) == [("stale", 'code is "0.0" in yolo10s-w4-seed1/ema+qc; most runs have "0.1"')]


def test_a_patch_release_of_the_training_code_stays_comparable(policy, ladder, make):
    assert decide(policy, swapped(ladder(), make("yolo10s", "ema", 1, versions={"qat-train": "0.1.9"}))).passed


def test_variants_may_differ_in_checkpoint_schedule_and_layers(policy, ladder):
    runs = [
        attrs.evolve(run, training=attrs.evolve(run.training, epochs=9, effective_batch=8))
        if run.model.variant == "yolo10s"
        else run
        for run in ladder()
    ]
    assert decide(policy, runs).passed


def test_a_method_may_differ_in_what_it_sets_itself_but_its_repetitions_may_not(policy, ladder, make):
    longer = {"training__epochs": 12, "method__sets": ["training.epochs"]}
    runs = swapped(ladder(), *[make(v, "ema", seed, **longer) for v in ("yolo10n", "yolo10s") for seed in (0, 1)])
    assert decide(policy, runs).passed
    uneven = make("yolo10n", "ema", 1, **longer | {"training__epochs": 24})
    assert unmet(decide(policy, swapped(runs, uneven))) == ["5-comparability"]


def test_a_method_that_sets_other_keys_in_one_variant_is_not_comparable(policy, ladder, make):
    longer = {"training__epochs": 12, "method__sets": ["training.epochs"]}
    runs = swapped(ladder(), *[make("yolo10n", "ema", seed, **longer) for seed in (0, 1)])
    assert {text.partition(" ")[0] for _, text in reasons(decide(policy, runs))} == {"method.sets"}


@pytest.mark.parametrize("key", ["dataset", "evaluation", "dataset.val_fingerprint", "model", "metrics", "code"])
def test_what_no_method_may_set_excuses_nothing_and_is_tampered(policy, ladder, make, key):
    other = {"dataset__val_fingerprint": "other", "evaluation__head": "one2many", "method__sets": [key]}
    runs = [
        make(
            run.model.variant, run.method.variant, run.training.seed, **other if run.model.variant == "yolo10s" else {}
        )
        for run in ladder()
    ]
    decision = decide(policy, runs)
    assert ("tampered", f"yolo10s ema+qc seed 1: its method sets {key}, which no method may") in reasons(decision)
    found = {reason.text.partition(" ")[0] for reason in decision.criteria[4].reasons}
    assert found >= {"dataset.val_fingerprint", "evaluation.head"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training__overrides", {"profile": "short", "training.lr0": 0.02}),
        ("training__overrides", {"profile": "full"}),
        ("method__ema__decay", 0.9),
        ("method__ema__window_steps", 12.0),
        ("method__qc__epochs", 50),
        ("method__qc__lr", 1.0),
        ("method__qc__bn_stats_fixed", False),
        ("training__interventions", {"dampening": 0.1}),
        ("quantization__scale", {"init": "mse", "learned": False, "lr": 1e-5}),
    ],
)
def test_repetitions_with_another_training_or_correction_are_not_comparable(policy, ladder, make, key, value):
    odd = make("yolo10s", "ema+qc", 1, **{key: value})
    decision = decide(policy, swapped(ladder(), odd))
    assert unmet(decision) == ["5-comparability"]
    ((kind, text),) = reasons(decision)
    assert kind == "not-comparable"
    assert text.startswith(key.replace("__", "."))
    assert odd.run_id in text


@pytest.mark.parametrize(
    "key",
    ["training.device", "training.workers", "training.threads", "data.coco_root", "model.checkpoint", "gate.override"],
)
def test_repetitions_may_differ_in_machine_and_places(policy, ladder, make, key):
    moved = make("yolo10s", "ema+qc", 1, training__overrides={"profile": "short", key: "elsewhere"})
    assert decide(policy, swapped(ladder(), moved)).passed


def test_a_setting_that_only_some_repetitions_state_says_so(policy, ladder, make):
    odd = make("yolo10s", "ema+qc", 1, training__overrides={"profile": "short", "training.lr0": 0.02})
    (text,) = [text for _, text in reasons(decide(policy, swapped(ladder(), odd)))]
    assert text == ("training.overrides.training.lr0 is 0.02 in yolo10s-w4-seed1/ema+qc; most runs have not set")


def test_an_incomplete_run_that_does_not_count_cannot_spoil_comparability(policy, ladder, make):
    cut = make("yolo10n", "ema+qc", 5, status="incomplete", values=(0.1,), findings=["insufficient"], model__imgsz=640)
    assert "5-comparability" not in unmet(decide(policy, [*ladder(), cut]))


def test_comparability_that_is_switched_off_leaves_a_note(changed, ladder, make):
    off = changed(comparability=ComparabilityRule(reason="one-off comparison", enabled=False))
    decision = decide(off, swapped(ladder(), make("yolo10s", "ema+qc", 1, model__imgsz=640)))
    assert decision.passed
    assert "comparability is switched off: one-off comparison" in decision.notes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metrics__best_value": 0.5}, "best_value is 0.5, its history says 0.4"),
        ({"values": (0.1, 0.2, 0.3, 0.4, 1.5)}, "its history holds values outside [0, 1]: [1.5]"),
        ({"metrics__best_epoch": 2}, "best_epoch is 2, its history has 0.4 elsewhere"),
        ({"metrics__final_value": 0.41}, "final_value is 0.41, its history says 0.4"),
        ({"status": "completed-failed"}, "its status is completed-failed, its class stable"),
        ({"stability__collapsed": True}, "collapsed is True, its history and status say False"),
        (
            {"findings": ["collapsed"], "stability__class": "stable", "stability__collapsed": False,
             "status": "completed-success"},
            "its class is stable, its history and status say collapsed; "
            "collapsed is False, its history and status say True",
        ),
        (
            {"values": (0.1, 0.2, 0.4, 0.3, 0.19)},
            "its findings are none, its history shows collapsed; "
            "its class is stable, its history and status say collapsed; "
            "collapsed is False, its history and status say True",
        ),
        (
            {"values": (0.1, 0.4, 0.05, 0.06, 0.05, 0.39)},  # it recovers at the last epoch
            "its findings are none, its history shows collapsed; "
            "its class is stable, its history and status say collapsed; "
            "collapsed is False, its history and status say True",
        ),
        (
            {"values": (0.0,) * 5},
            "its findings are none, its history shows no-signal; "
            "its class is stable, its history and status say no-signal; "
            "collapsed is False, its history and status say True",
        ),
        (
            {"values": (), "stability__collapsed": False},
            "its findings are none, its history shows insufficient; "
            "its class is stable, its history and status say insufficient; "
            "collapsed is False, its history and status say True",
        ),
        (
            {"metrics__history": [
                {"epoch": e, "value": v, "weights_sha256": None, "stage": "qat"}
                for e, v in [(1, 0.1), (2, 0.2), (4, 0.3), (3, 0.35), (5, 0.4)]
             ], "metrics__best_epoch": 5},
            "the epochs of its history do not increase: [1, 2, 4, 3, 5]",
        ),
    ],
)  # fmt: skip
def test_a_statement_that_does_not_follow_from_the_history_is_tampered(policy, ladder, make, changes, expected):
    decision = decide(policy, swapped(ladder(), make("yolo10n", "ema+qc", 1, **changes)))
    assert ("tampered", f"yolo10n ema+qc seed 1: {expected}") in reasons(decision)
    assert not decision.passed


def test_a_final_value_of_exactly_half_the_best_is_no_collapse(policy, ladder, make):
    assert decide(policy, swapped(ladder(), make("yolo10n", "ema+qc", 1, values=(0.1, 0.2, 0.4, 0.3, 0.2)))).passed


@pytest.mark.parametrize(("final", "passed"), [(0.352, True), (0.3519, False)])
def test_floor_under_fp32_includes_its_boundary(changed, ladder, make, final, passed):
    floored = changed(floors=FloorsRule(reason="useful", min_fraction_of_fp32=0.8))
    run = make("yolo10n", "ema+qc", 1, values=(0.1, 0.2, 0.3, 0.4, final))
    decision = decide(floored, swapped(ladder(), run))
    assert (decision.passed, unmet(decision)) == (passed, [] if passed else ["7-floors"])


@pytest.mark.parametrize(("final", "passed"), [(0.39, True), (0.3899, False)])
def test_floor_under_the_baseline_of_the_same_seed_includes_its_boundary(changed, ladder, make, final, passed):
    floored = changed(floors=FloorsRule(reason="not worse", max_drop_below_baseline=0.01))
    run = make("yolo10n", "ema+qc", 1, values=(0.1, 0.2, 0.3, 0.4, final))
    decision = decide(floored, swapped(ladder(), run))
    assert decision.passed == passed
    if not passed:
        assert reasons(decision) == [
            ("below-floor", "yolo10n ema+qc seed 1 ends at 0.3899, below 0.3900 (its baseline - 0.01)")
        ]
        assert decision.criteria[-1].reasons[0].runs == ("yolo10n-w4-seed1/ema+qc", "yolo10n-w4-seed1/baseline")


def test_a_floor_without_its_reference_is_insufficient_evidence(changed, ladder, make):
    floored = changed(floors=FloorsRule(reason="useful", min_fraction_of_fp32=0.8))
    decision = decide(floored, swapped(ladder(), make("yolo10n", "ema+qc", 1, metrics__fp32=None)))
    assert reasons(decision) == [("insufficient-evidence", "yolo10n ema+qc seed 1 has no FP32 reference")]


def test_duplicate_run_ids_are_refused(policy, ladder):
    with pytest.raises(EvidenceError) as caught:
        decide(policy, [*ladder(), ladder()[0]])
    assert str(caught.value) == "run ids occur twice: yolo10n-w4-seed0/baseline; give each run once"


def test_the_same_seed_from_two_roots_is_one_repetition_and_both_must_be_stable(policy, ladder, make):
    again = make("yolo10n", "ema+qc", 0, run_id="elsewhere/ema+qc", trajectory_id="elsewhere")
    assert decide(policy, [*ladder((0, 1)), again]).passed
    assert unmet(decide(policy, [*ladder((0,)), again])) == ["2-seeds"]
    bad = make("yolo10n", "ema+qc", 0, run_id="elsewhere/ema+qc", trajectory_id="elsewhere", findings=["recovered"])
    assert unmet(decide(policy, [*ladder((0, 1)), bad])) == ["3-stability"]


def test_every_class_but_the_allowed_ones_fails(changed, ladder, make):
    every = StabilityRule(reason="x", allowed_classes=("stable", "diverged", "collapsed"))
    run = make("yolo10n", "ema+qc", 1, findings=["collapsed"])
    assert decide(changed(stability=every), swapped(ladder(), run)).passed
