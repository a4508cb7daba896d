"""Both evaluators on the same detections; the table's numbers in brackets are the ratio to the fastest."""

import json

import pytest

from qat_data import read_annotations, read_detections
from qat_data.matching import match

from .conftest import derived_detections, write_json


@pytest.fixture(scope="module")
def case(real_data, tmp_path_factory):
    """coco128 val: 128 images, 80 classes, about 13,600 detections, as many an image as a detector keeps by default."""
    folder = tmp_path_factory.mktemp("bench")
    file = real_data / "coco128" / "annotations" / "instances_val2017.json"
    truth = read_annotations(file)
    entries = derived_detections(json.loads(file.read_text()), per_image=100)
    return truth, write_json(folder / "found.json", entries)


@pytest.mark.benchmark(group="match", min_rounds=3)
def test_match(benchmark, case, evaluator):
    truth, file = case
    curves = benchmark(match, evaluator, truth, read_detections(file, truth))
    assert 0 < curves.precision.max() <= 1


@pytest.mark.benchmark(group="read")
def test_read_and_check_detections(benchmark, case):
    truth, file = case
    assert len(benchmark(read_detections, file, truth).entries) > 10_000
