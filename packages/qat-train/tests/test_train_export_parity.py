"""What counts as agreement, and what an export may not claim."""

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qat_train.export.parity import compare_batch, merge, reselected
from qat_train.export.record import (
    Accuracy,
    Agreement,
    Codes,
    Export,
    ExportedLayer,
    Files,
    Latency,
    Sizes,
    describe,
    faults,
)
from qat_train.export.source import stages_of
from qat_train.run import Evaluation


def outputs(scores, boxes=None):
    """(1, anchors, 4 + classes) of scores by anchor."""
    scores = np.array([scores], dtype=np.float32)
    if boxes is None:
        boxes = np.zeros((*scores.shape[:2], 4), dtype=np.float32)
    return np.concatenate((boxes, scores), axis=-1)


def test_only_detections_count_against_the_tolerance():
    reference = outputs([[0.9, 0.0], [0.04, 0.01], [0.5, 0.2]])
    found = reference.copy()
    found[0, 1, :4] += 3.0  # an anchor that detects nothing
    found[0, 2, 1] += 0.02
    found[0, 2, 5] += 0.01
    agreement = compare_batch(reference, found)
    assert (agreement.images, agreement.detections) == (1, 3)
    assert agreement.box_error_px == pytest.approx(0.02)
    assert agreement.score_error == pytest.approx(0.01)
    assert agreement.box_error_px_anywhere == pytest.approx(3.0)
    assert agreement.score_error_anywhere == pytest.approx(0.01)


def test_a_detection_of_one_side_alone_counts():
    reference = outputs([[0.049], [0.9]])
    found = outputs([[0.3], [0.9]])
    for one, other in ((reference, found), (found, reference)):
        agreement = compare_batch(one, other)
        assert (agreement.detections, agreement.score_error) == (2, pytest.approx(0.251))


def test_no_detections_is_no_error():
    agreement = compare_batch(outputs([[0.01]]), outputs([[0.02]]))
    assert (agreement.detections, agreement.box_error_px, agreement.score_error) == (0, 0.0, 0.0)


def rows_of(scores):
    return np.array([[i, i, i, i, score, i % 2] for i, score in enumerate(scores)], dtype=np.float32)


@given(st.permutations(range(6)), st.integers(0, 4))
def test_selection_is_compared_as_a_set(order, missing):
    rows = rows_of([0.9, 0.9, 0.9, 0.5, 0.5, 0.06])  # equal scores may come in any order
    assert reselected(rows[list(order)], rows) == 0
    assert reselected(np.delete(rows, missing, axis=0), rows) == 1
    other = rows.copy()
    other[missing, 0] += 0.5
    assert reselected(other, rows) == 2
    other[missing, 4] = rows[missing, 4] = 0.01  # below the threshold nothing is compared
    assert reselected(other, rows) == 0


def test_of_equal_scores_at_the_end_of_a_selection_either_may_be_in_it():
    candidates = rows_of([0.9, 0.5, 0.5, 0.5])
    assert reselected(candidates[[0, 1, 2]], candidates[[0, 1, 3]]) == 0
    assert reselected(candidates[[0, 1]], candidates[[0, 1, 3]]) == 1
    assert reselected(candidates[[1, 2, 3]], candidates[[0, 1, 3]]) == 2


def test_batches_add_up():
    one = compare_batch(outputs([[0.9], [0.1]]), outputs([[0.8], [0.1]]))
    two = attrs.evolve(compare_batch(outputs([[0.9]]), outputs([[0.9]])), reselected=3)
    whole = merge([one, two])
    assert (whole.images, whole.detections, whole.reselected) == (2, 3, 3)
    assert whole.score_error == pytest.approx(0.1)


def make_record():
    evaluation = Evaluation(
        map50_95=0.4, map50=0.7, precision=0.6, recall=0.6, per_class={}, weights_sha256="0" * 64, seconds=1.0
    )
    return Export(
        run_id="n/seed0",
        method="ema+qc",
        series="corrected",
        weights_sha256="0" * 64,
        variant="yolo10n",
        names=("disc",),
        imgsz=64,
        head="one2one",
        opset=21,
        quantization_mode="w4a16",
        granularity="per-channel",
        dataset_fingerprint="f",
        layers=(
            ExportedLayer(name="stem", bits=8, storage="int8", weights=100, negative_scales=0),
            ExportedLayer(name="body", bits=4, storage="int4", weights=900, negative_scales=2),
        ),
        dropped_layers=24,
        files=Files(),
        files_sha256={},
        codes=Codes(weights=1000, equal_packed=1000, equal_onnx=1000),
        agreement=Agreement(
            images=3,
            detections=70,
            threshold=0.05,
            box_error_px=0.001,
            score_error=1e-5,
            box_error_px_anywhere=0.1,
            score_error_anywhere=1e-4,
            reselected=0,
        ),
        accuracy=Accuracy(torch=evaluation, onnx=evaluation),
        proven=True,
        sizes=Sizes(packed=100, onnx_int4=110, onnx_int8=200, onnx_fp16=400, onnx_fp32=770),
        latency=None,
        versions={},
        seconds=2.0,
    )


def faults_of(record):
    return faults(record.codes, record.agreement, record.accuracy, record.tolerances)


def test_nothing_speaks_against_an_export_within_the_tolerances():
    assert faults_of(make_record()) == ()


@pytest.mark.parametrize(
    ("part", "change", "fault"),
    [
        ("codes", {"equal_onnx": 999}, "codes: of 1000 only 1000 packed, 999 in ONNX are the trained ones"),
        ("codes", {"equal_packed": 0}, "codes: of 1000 only 0 packed, 1000 in ONNX are the trained ones"),
        ("agreement", {"box_error_px": 0.051}, "boxes, px: differ by 0.051, 0.05 is allowed"),
        ("agreement", {"score_error": 0.002}, "scores: differ by 0.002, 0.001 is allowed"),
        ("agreement", {"reselected": 4}, "selection: 4 detections are not those of torch"),
    ],
)
def test_a_record_cannot_claim_what_its_numbers_do_not_say(part, change, fault):
    record = make_record()
    other = {part: attrs.evolve(getattr(record, part), **change)}
    with pytest.raises(ValueError, match=r"^proven is True: ") as caught:
        attrs.evolve(record, **other)
    assert str(caught.value) == f"proven is True: {fault}"
    assert faults_of(attrs.evolve(record, **other, proven=False)) == (fault,)


def test_a_moved_map_is_a_fault():
    record = make_record()
    moved = attrs.evolve(record.accuracy.onnx, map50_95=0.3985)
    accuracy = attrs.evolve(record.accuracy, onnx=moved)
    found = faults_of(attrs.evolve(record, accuracy=accuracy, proven=False))
    assert found == ("mAP50-95: differ by 0.0015, 0.001 is allowed",)


def test_a_proven_export_is_not_called_unproven():
    with pytest.raises(ValueError, match=r"^proven is False: nothing speaks against it$"):
        attrs.evolve(make_record(), proven=False)


def test_the_text_says_what_stays_larger_and_what_latency_was_measured():
    latency = Latency(imgsz=64, threads=2, calls=30, fp32_ms=10.0, int4_ms=15.0, int4_folded_ms=9.9)
    text = describe(attrs.evolve(make_record(), latency=latency))
    assert "layers: 1 int4 (900 weights), 1 int8 (100 weights)" in text
    assert "larger than 4 bits: stem" in text
    assert "packed 100 (1/7.70 of FP32), ONNX INT4 110 (1/7.00)" in text
    assert "2 channels have a negative scale" in text
    assert "2 threads, 64 px: FP32 10.0 ms, INT4 1.50 times that, with disable_quant_qdq 0.99 times" in text


@pytest.mark.parametrize(
    ("method", "stages"),
    [
        ("baseline", ()),
        ("learned+ema", ()),
        ("ema+qc", ("qc",)),
        ("bn", ("bn",)),
        ("ema+bn+qc", ("bn", "qc")),
        ("ema+qc-beta", ("qc",)),
        ("qcd+abn", ()),
    ],
)
def test_stages_of_a_method_are_read_from_its_name(method, stages):
    assert stages_of(method) == stages
