"""COCO metrics: what a hand computes, and what the reference says of real files that it reads its own way."""

import json

import attrs
import pytest

from qat_data import CocoLayout, Request, evaluate, prepare, read_annotations, read_coco, read_detections, read_truth

from .conftest import annotations, derived_detections, excerpt, prepared_truth, results, write_json

BOX = [4.0, 5.0, 10.0, 8.0]  # the only box of every image of the COCO root
AWAY = [30.0, 2.0, 6.0, 6.0]
HALF_RECALL = 51 / 101  # precision is 1 at the recall thresholds 0, 0.01, ..., 0.5


@pytest.mark.parametrize(
    ("entries", "ap"),
    [
        ([], 0.0),
        ([(5, 7, BOX, 0.9)], 34 / 101),  # one of three boxes: recall thresholds 0 to 0.33
        ([(5, 7, BOX, 0.9), (9, 7, BOX, 0.8), (301, 7, BOX, 0.1)], 1.0),
        ([(5, 7, AWAY, 1.0), (5, 7, BOX, 0.9), (9, 7, BOX, 0.8), (301, 7, BOX, 0.1)], 0.75),
        ([(5, 7, BOX, 0.9), (5, 7, BOX, 0.8)], 34 / 101),  # the second of one box is a false one
        ([(5, 90, BOX, 0.9)], 0.0),  # another class
        ([(9, 7, [4.0, 5.0, 10.0, 4.8], 0.9)], 34 / 101 * 0.3),  # IoU 0.6: at 3 of 10 thresholds
    ],
)
def test_average_precision_is_what_a_hand_computes(coco, tmp_path, evaluator, entries, ap):
    truth = prepared_truth(coco, tmp_path / "data")
    detections = read_detections(write_json(tmp_path / "found.json", results(*entries)), truth)
    result = evaluate(truth, detections, evaluator=evaluator)
    assert result.metrics.map50_95 == pytest.approx(ap, abs=1e-12)
    (cat, dog) = result.classes
    assert cat.ap == pytest.approx(ap, abs=1e-12)
    assert (cat.images, cat.boxes, cat.category_id) == (3, 3, 7)
    assert (dog.ap, dog.ap50, dog.images, dog.boxes) == (None, None, 0, 0)
    assert result.metrics.map_small == result.metrics.map50_95
    assert (result.metrics.map_medium, result.metrics.ar_large) == (None, None)  # no box of that size


def test_a_crowd_is_neither_to_be_found_nor_held_against_what_lies_in_it(coco, tmp_path, evaluator):
    coco.content["val"] = annotations([5])
    coco.add_box([20.0, 0.0, 20.0, 30.0], split="val", image=5, iscrowd=1)
    truth = prepared_truth(coco, tmp_path / "data")
    entries = results((5, 7, AWAY, 0.9), (5, 7, [22.0, 12.0, 5.0, 5.0], 0.8), (5, 7, BOX, 0.7))
    result = evaluate(truth, read_detections(write_json(tmp_path / "f.json", entries), truth), evaluator=evaluator)
    assert result.metrics.map50_95 == pytest.approx(1.0, abs=1e-12)
    assert (result.truth.boxes, result.truth.crowds) == (1, 1)
    assert result.classes[0].boxes == 1


def test_a_box_without_area_has_to_be_found_and_cannot_be(coco, tmp_path, evaluator):
    coco.content["val"] = annotations([5])
    coco.add_box([20.0, 10.0, 0.0, 0.0], split="val", image=5, area=0.0)
    truth = prepared_truth(coco, tmp_path / "data")
    entries = results((5, 7, BOX, 0.9), (5, 7, [20.0, 10.0, 0.0, 0.0], 0.8))
    result = evaluate(truth, read_detections(write_json(tmp_path / "f.json", entries), truth), evaluator=evaluator)
    assert result.metrics.map50_95 == pytest.approx(HALF_RECALL, abs=1e-12)
    assert (result.truth.boxes, result.truth.zero_area) == (2, 1)


def test_boxes_over_the_edge_are_compared_as_annotated_though_labels_are_clipped(coco, tmp_path):
    coco.content["val"] = annotations([5], boxes=[(30.0, 10.0, 40.0, 10.0)])
    truth = prepared_truth(coco, tmp_path / "data")
    entries = results((5, 7, [30.0, 10.0, 40.0, 10.0], 0.9))
    result = evaluate(truth, read_detections(write_json(tmp_path / "f.json", entries), truth))
    assert result.metrics.map50_95 == pytest.approx(1.0, abs=1e-12)


def test_the_size_class_goes_by_the_area_of_the_annotation(coco, tmp_path):
    coco.content["val"] = annotations([5])
    coco.content["val"]["annotations"][0] |= {"bbox": [0.0, 0.0, 40.0, 30.0], "area": 32.0**2}
    truth = prepared_truth(coco, tmp_path / "data")
    entries = results((5, 7, [0.0, 0.0, 40.0, 30.0], 0.9))
    metrics = evaluate(truth, read_detections(write_json(tmp_path / "f.json", entries), truth)).metrics
    assert (metrics.map_small, metrics.map_medium) == (pytest.approx(1.0), pytest.approx(1.0))  # both include 32 x 32
    del coco.content["val"]["annotations"][0]["area"]
    truth = prepared_truth(coco, tmp_path / "again")
    assert evaluate(truth, read_detections(tmp_path / "f.json", truth)).metrics.map_small is None


def test_equal_scores_are_taken_in_the_order_of_the_file(coco, tmp_path, evaluator):
    truth = prepared_truth(coco, tmp_path / "data")
    both = results((5, 7, BOX, 0.5), (5, 7, AWAY, 0.5))
    aps = [
        evaluate(
            truth, read_detections(write_json(tmp_path / "f.json", order), truth), evaluator=evaluator
        ).metrics.map50
        for order in (both, both[::-1])
    ]
    assert aps == [pytest.approx(34 / 101), pytest.approx(17 / 101)]


def test_only_the_best_hundred_of_an_image_and_class_count_and_the_rest_is_told(coco, tmp_path, evaluator):
    truth = prepared_truth(coco, tmp_path / "data")
    entries = results(*[(5, 7, AWAY, 0.9)] * 100, (5, 7, BOX, 0.1), (9, 7, BOX, 0.05))
    result = evaluate(truth, read_detections(write_json(tmp_path / "f.json", entries), truth), evaluator=evaluator)
    assert (result.detections.number, result.detections.images, result.detections.surplus) == (102, 2, 1)
    assert result.metrics.ar100 == pytest.approx(1 / 3)
    assert (result.metrics.ar1, result.metrics.ar10) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def reference_stats(annotation_file, detections_file):
    """The twelve numbers of pycocotools, through its own readers and its own summary."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(annotation_file))
    run = COCOeval(truth, truth.loadRes(str(detections_file)), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return [None if value == -1 else value for value in run.stats]


@pytest.mark.parametrize(
    ("name", "split", "crowds", "zero_area"),
    [("coco128", "val", 0, 0), ("coco128", "train", 10, 0), ("bccd", "train", 0, 2)],
)
def test_metrics_are_those_of_the_reference_read_its_own_way(
    real_data, tmp_path, evaluator, name, split, crowds, zero_area
):
    content = excerpt(json.loads((real_data / name / "annotations" / f"instances_{split}2017.json").read_text()))
    file = write_json(tmp_path / "truth.json", content)
    detections = write_json(tmp_path / "found.json", derived_detections(content))
    truth = read_annotations(file)
    result = evaluate(truth, read_detections(detections, truth), evaluator=evaluator)
    assert list(attrs.astuple(result.metrics)) == pytest.approx(reference_stats(file, detections), abs=1e-9)
    assert 0.05 < result.metrics.map50_95 < 0.9  # no trivial case
    assert (result.truth.crowds, result.truth.zero_area) == (crowds, zero_area)
    assert result.truth.boxes == len(content["annotations"]) - crowds


def test_the_prepared_val_subset_is_what_its_images_are_in_the_source(real_data, tmp_path):
    root = real_data / "coco128"
    prepare(read_coco(CocoLayout(root=root)), tmp_path / "data", Request(train_images=4, val_images=16))
    truth = read_truth(tmp_path / "data")
    source = read_annotations(root / "annotations" / "instances_val2017.json")
    assert truth.categories == source.categories
    assert max(truth.categories) > len(truth.categories)  # gaps
    assert list(truth.images) == sorted(source.images)[:16]
    assert truth.images == {i: source.images[i] for i in truth.images}
