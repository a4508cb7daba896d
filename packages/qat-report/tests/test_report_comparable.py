import pytest

import qat_artifacts
from qat_report import RunSummary, differences, differences_across, settings


@pytest.fixture
def compared(edited_summary):
    def make(**changes):
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        return settings(qat_artifacts.read(edited_summary(dotted), RunSummary))

    return make


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset__fingerprint", "f" * 64),
        ("dataset__val_fingerprint", "f" * 64),
        ("model__imgsz", 640),
        ("model__checkpoint_sha256", "f" * 64),
        ("training__epochs", 12),
        ("training__effective_batch", 8),
        ("training__amp", True),
        ("evaluation__head", "one2many"),
        ("evaluation__conf", 0.01),
        ("evaluation__evaluator", "pycocotools 2.0.11"),
        ("quantization__policy", "all-4"),
        ("quantization__weight_bit_width", 3),
        ("quantization__layers", []),
    ],
)
def test_repetitions_differ_in_each_key_that_decides(compared, field, value):
    found = differences(compared(**{field: value}), compared())
    assert [difference.key for difference in found] == [field.replace("__", ".")]


def test_intervention_that_the_other_lacks_is_named(compared):
    found = differences(compared(training__interventions={"dampening": 0.1}), compared())
    assert [str(difference) for difference in found] == ["training.interventions.dampening is 0.1, not none"]
    assert differences(compared(), compared(), ["training.interventions"]) == ()


def test_runs_that_more_devices_trained_are_other_runs(compared):
    found = differences(compared(training__device="cuda:0,cuda:1"), compared())
    assert [str(difference) for difference in found] == ["training.ranks is 2, not none"]


def test_nested_scale_is_named(compared):
    found = differences(compared(quantization__scale={"init": "max", "learned": False}), compared())
    assert [str(difference) for difference in found] == ["quantization.scale.init is max, not mse"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("training__seed", 7),
        ("training__device", "0"),
        ("training__workers", 4),
        ("evaluation__weights_sha256", "f" * 64),
        ("dataset__coco_root", "/elsewhere"),
        ("created_at", "2027-01-01T00:00:00+00:00"),
    ],
)
def test_seeds_devices_and_places_keep_repetitions_comparable(compared, field, value):
    assert differences(compared(**{field: value}), compared()) == ()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("0.1.0", "0.1.9", True), ("0.1.0", "0.2.0", False), ("1.0.0", "1.9.0", True), ("1.0.0", "2.0.0", False)],
)
def test_minor_version_counts_only_while_the_major_is_zero(compared, one, other, same):
    found = differences(compared(versions={"qat-train": one}), compared(versions={"qat-train": other}))
    assert (found == ()) is same


def test_key_that_a_method_sets_is_exempt_with_everything_below_it(compared):
    other = compared(quantization__granularity="per-tensor", training__epochs=12)
    found = differences(other, compared(), exempt=["quantization"])
    assert [str(difference) for difference in found] == ["training.epochs is 12, not 6"]


def test_variants_differ_in_layers_checkpoint_and_batch_and_stay_comparable(compared):
    other = compared(quantization__layers=[], model__checkpoint_sha256="f" * 64, training__effective_batch=8)
    assert differences_across(other, compared()) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("dataset__classes", ["white", "red"]), ("quantization__policy", "all-4"), ("model__imgsz", 640)],
)
def test_variants_with_other_classes_policy_or_image_size_are_not_comparable(compared, field, value):
    found = differences_across(compared(**{field: value}), compared())
    assert [difference.key for difference in found] == [field.replace("__", ".")]


def test_hashes_are_cut_and_flags_are_words_in_the_text_of_a_difference(compared):
    found = differences(compared(dataset__fingerprint="f" * 64, training__amp=True), compared())
    assert [str(d) for d in found][1] == "training.amp is on, not off"
    assert str(found[0]).startswith("dataset.fingerprint is ffffffffffff, not ")
