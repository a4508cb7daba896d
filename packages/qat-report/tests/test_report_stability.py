import pytest
from hypothesis import given
from hypothesis import strategies as st

from qat_report import Event, Point, classify

RAMP = [0.01, 0.05, 0.12, 0.2, 0.27, 0.32, 0.35, 0.37, 0.38, 0.39]


def series(values, *, hashes=True):
    return [
        Point(epoch=i, value=value, weights_sha256=f"{i:064x}" if hashes else None)
        for i, value in enumerate(values, start=1)
    ]


def verdict(values, **options):
    return classify(series(values), **{"fp32": 0.44, "ptq": 0.07} | options)


def event(epoch, kind):
    return Event(epoch=epoch, kind=kind, detail="")


def test_healthy_ramp_is_stable():
    found = verdict(RAMP)
    assert found.stability_class == "stable"
    assert (found.findings, found.reasons, found.not_checked) == ((), (), ())
    assert (found.collapsed, found.best_value, found.best_epoch, found.final_value) == (False, 0.39, 10, 0.39)
    assert (found.evaluations, found.final_over_best) == (10, 1.0)


@pytest.mark.parametrize(
    "values",
    [
        [0.05, 0.01, 0.01, 0.02, 0.2, 0.35, 0.39],  # a dip before the best has a quarter of the run's best
        [0.0, 0.0, 0.0, 0.1, 0.3, 0.4],
        [0.4, 0.25, 0.22, 0.21, 0.3, 0.41],  # a dip to just above half
        [0.4, 0.01, 0.39, 0.4, 0.4],  # one bad evaluation is no collapse
        [0.397, 0.41, 0.423, 0.419, 0.427, 0.432],
    ],
)
def test_dips_and_ramps_that_are_no_collapse_are_stable(values):
    found = verdict(values)
    assert (found.stability_class, found.collapsed) == ("stable", False)


def test_final_below_half_of_best_is_collapsed():
    found = verdict([0.2, 0.3, 0.4, 0.4, 0.4, 0.1999])
    assert (found.stability_class, found.collapsed) == ("collapsed", True)
    assert found.reasons == ("final 0.1999 is below 0.5 x best 0.4000",)


def test_final_of_exactly_half_of_best_is_not_collapsed():
    found = verdict([0.2, 0.3, 0.4, 0.4, 0.4, 0.2])
    assert (found.stability_class, found.collapsed) == ("stable", False)


def test_three_evaluations_below_half_of_the_best_before_are_collapsed_although_the_run_ends_well():
    found = verdict([0.2, 0.4, 0.19, 0.2, 0.2, 0.4, 0.42])
    assert (found.stability_class, found.collapsed) == ("collapsed", True)
    assert found.reasons == ("evaluations 3 to 5 average 0.1967, below 0.5 x 0.4000",)


def test_three_evaluations_of_exactly_half_of_the_best_before_are_not_collapsed():
    assert verdict([0.2, 0.4, 0.2, 0.2, 0.2, 0.4]).collapsed is False


def test_collapse_after_a_best_of_a_quarter_of_the_runs_best_counts():
    assert verdict([0.1, 0.04, 0.04, 0.04, 0.3, 0.4]).collapsed is True
    assert verdict([0.0999, 0.04, 0.04, 0.04, 0.3, 0.4]).collapsed is False


def test_collapse_in_the_first_evaluations_after_the_best_is_seen():
    assert verdict([0.4, 0.1, 0.1, 0.1, 0.3, 0.4]).stability_class == "collapsed"


def test_recorded_early_peak_and_late_collapse_is_collapsed():
    rise = [0.01 * i for i in range(1, 24)]
    assert verdict([*rise, 0.226, 0.2, 0.15, 0.1, 0.05, 0.0118]).stability_class == "collapsed"


@pytest.mark.parametrize("values", [[None] * 6, [0.0] * 6, [0.2, 0.3, 0.4, 0.4, 0.4, None], []])
def test_zero_missing_and_absent_values_never_read_as_not_collapsed(values):
    assert verdict(values).collapsed is True


def test_missing_evaluations_that_could_hide_a_collapse_leave_it_open():
    assert verdict([0.4, 0.4, None, None, 0.4, 0.4]).collapsed is True
    assert verdict([0.4, 0.4, None, 0.4, 0.4, 0.4]).collapsed is False
    assert "collapsed" not in verdict([0.4, 0.4, None, None, 0.4, 0.4]).findings


def test_missing_last_value_is_diverged():
    found = verdict([0.2, 0.3, 0.4, 0.4, 0.4, None])
    assert (found.stability_class, found.final_value, found.final_over_best) == ("diverged", None, None)
    assert found.reasons[0] == "the last evaluation (epoch 6) has no finite value"


@pytest.mark.parametrize("kind", ["nan-loss", "nan-weights"])
def test_fault_that_nothing_repaired_is_diverged(kind):
    found = verdict(RAMP, events=[event(10, kind)])
    assert found.stability_class == "diverged"
    assert found.reasons == (f"{kind} at epoch 10 was not repaired",)


def test_fault_after_the_last_rollback_is_diverged_and_the_earlier_repair_is_said_too():
    found = verdict(RAMP, events=[event(10, "nan-loss"), event(10, "rollback"), event(10, "nan-loss")])
    assert found.findings == ("diverged", "recovered")


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([event(10, "nan-loss"), event(10, "rollback")], "1 rollback after NaN or Inf"),
        ([event(3, "nan-weights")], "nan-weights at epoch 3, finite again later"),
    ],
)
def test_repaired_fault_is_recovered(events, reason):
    found = verdict(RAMP, events=events)
    assert (found.stability_class, found.reasons) == ("recovered", (reason,))


def test_missing_evaluation_on_the_way_is_recovered():
    found = verdict([0.3, 0.35, None, 0.38, 0.39, 0.4])
    assert found.stability_class == "recovered"
    assert found.reasons == ("epoch 3 has no finite value, later ones have",)


@pytest.mark.parametrize("kind", ["scaler-skip", "batch-halved", "resumed", "some-newer-kind"])
def test_other_events_change_no_class(kind):
    assert verdict(RAMP, events=[event(3, kind)]).stability_class == "stable"


def test_best_of_five_percent_of_fp32_is_no_signal():
    assert verdict([0.02] * 6, fp32=0.4, ptq=None).stability_class == "no-signal"
    assert verdict([0.02] * 5 + [0.0201], fp32=0.4, ptq=None).stability_class == "stable"


def test_best_not_above_a_destroyed_ptq_is_no_signal():
    assert verdict([0.19] * 6, fp32=0.4, ptq=0.19).stability_class == "no-signal"
    assert verdict([0.19] * 5 + [0.1901], fp32=0.4, ptq=0.19).stability_class == "stable"


def test_best_below_a_ptq_of_half_of_fp32_is_stable():
    assert verdict([0.19] * 5 + [0.195], fp32=0.4, ptq=0.2).stability_class == "stable"


def test_best_of_zero_is_no_signal_without_any_reference():
    assert verdict([0.0] * 6, fp32=None, ptq=None).stability_class == "no-signal"


def test_skipped_checks_are_listed():
    assert verdict(RAMP, fp32=None).not_checked == ("no-signal: no FP32 reference above 0 is known",)
    assert verdict(RAMP, ptq=None).not_checked == ("no-signal: no PTQ reference is known, checked against FP32 alone",)
    assert classify(series(RAMP, hashes=False), fp32=0.4, ptq=0.1).not_checked == (
        "frozen-metric: the evaluated weights are unknown",
    )


def test_three_identical_last_values_of_different_weights_are_frozen():
    found = verdict([0.3, 0.35, 0.38, 0.4, 0.4, 0.4])
    assert found.stability_class == "frozen-metric"
    assert found.reasons == ("the last 3 values are identical (0.4) although the weights changed",)


def test_identical_values_of_unchanged_weights_are_not_frozen():
    points = series([0.3, 0.35, 0.38, 0.4, 0.4, 0.4])
    same = [*points[:3], *(Point(epoch=p.epoch, value=p.value, weights_sha256="f" * 64) for p in points[3:])]
    assert classify(same, fp32=0.44, ptq=0.07).stability_class == "stable"


def test_values_that_differ_in_the_last_digit_are_not_frozen():
    assert verdict([0.3, 0.35, 0.38, 0.4, 0.4, 0.4000000000000001]).stability_class == "stable"


def test_rounded_values_are_never_called_frozen_and_the_check_is_listed_as_skipped():
    found = verdict([0.3, 0.35, 0.38, 0.4, 0.4, 0.4], rounded=True)
    assert found.stability_class == "stable"
    assert found.not_checked == ("frozen-metric: values are rounded and the evaluated weights are unknown",)


def test_four_evaluations_are_insufficient_and_five_are_not():
    assert verdict(RAMP[-4:]).stability_class == "insufficient"
    assert verdict(RAMP[-5:]).stability_class == "stable"


def test_missing_values_are_no_evaluations():
    found = verdict([0.3, None, 0.35, 0.38, 0.39])
    assert (found.evaluations, found.findings) == (4, ("insufficient", "recovered"))


def test_point_after_correction_is_the_last_of_the_series():
    points = [*series(RAMP), Point(epoch=11, value=0.1, weights_sha256="q", stage="qc")]
    found = classify(points, fp32=0.44, ptq=0.07)
    assert (found.stability_class, found.final_value, found.evaluations) == ("collapsed", 0.1, 11)


def test_point_after_correction_does_not_repair_a_fault_of_training():
    points = [*series(RAMP), Point(epoch=11, value=0.39, stage="qc")]
    assert classify(points, events=[event(10, "nan-weights")]).stability_class == "diverged"


def test_all_findings_are_listed_worst_first():
    assert verdict([0.4, 0.1, None, 0.1]).findings == ("collapsed", "insufficient", "recovered")


def test_first_of_equal_bests_is_the_best_epoch():
    assert verdict([0.2, 0.4, 0.3, 0.4, 0.35]).best_epoch == 2


def test_epochs_that_do_not_increase_are_refused():
    with pytest.raises(ValueError, match=r"^epochs must increase strictly, found \[2, 2\]$"):
        classify([Point(epoch=2, value=0.1), Point(epoch=2, value=0.2)])


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_point_outside_the_unit_interval_is_refused(value):
    with pytest.raises(ValueError, match=r"is outside \[0, 1\]"):
        Point(epoch=1, value=value)


optional = st.one_of(st.none(), st.floats(0, 1))


@given(st.lists(optional, max_size=15), optional, optional)
def test_class_is_the_worst_finding_and_only_a_run_shown_to_hold_is_not_collapsed(values, fp32, ptq):
    found = classify(series(values), fp32=fp32, ptq=ptq)
    assert found.stability_class == (found.findings[0] if found.findings else "stable")
    assert len(found.reasons) == len(found.findings)
    if "collapsed" in found.findings:
        assert found.collapsed
    if not found.collapsed:
        assert found.final_value is not None
        assert found.best_value is not None
        assert found.final_value >= 0.5 * found.best_value
        assert found.best_value > 0


@given(st.lists(st.floats(0.001, 1), min_size=5, max_size=15), st.data())
def test_losing_an_evaluation_never_turns_collapsed_into_not_collapsed(values, data):
    whole = classify(series(values))
    lost = data.draw(st.integers(1, len(values) - 1))
    if whole.collapsed and values[lost] <= max(values[:lost]):  # without a best so far a run has another standard
        holed = classify(series([None if i == lost else v for i, v in enumerate(values)]))
        assert holed.collapsed
