"""Ids that qat-train writes into detections are those that qat-data evaluates against."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from qat_data.prepare import Request, prepare
from qat_data.sources import view_name
from qat_data.yolo import read_yolo
from qat_train.dataset import read_data
from qat_train.environment import prepare_environment

prepare_environment()  # Ultralytics reads it at import

from qat_train.export.coco_results import read_identifiers  # noqa: E402


@pytest.fixture
def yolo(tmp_path):
    """A YOLO data set whose images are not in the order of their names."""
    for split in ("train", "val"):
        for name in ("b", "a", "c"):
            image, label = (tmp_path / kind / split / name for kind in ("images", "labels"))
            image.parent.mkdir(parents=True, exist_ok=True)
            label.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 48), (len(split), ord(name), 9)).save(image.with_suffix(".jpg"))
            label.with_suffix(".txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (tmp_path / "my.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [disc, square]\n")
    return tmp_path / "my.yaml"


def test_ids_of_a_yolo_source_are_those_of_its_annotations(yolo, tmp_path):
    record = prepare(read_yolo(yolo), tmp_path / "data", Request())
    truth = json.loads((tmp_path / "data" / record.val_annotations.file).read_text())
    found = read_identifiers(read_data(str(tmp_path / "data")))
    assert {view_name(i["file_name"]): i["id"] for i in truth["images"]} == dict(found.images)
    assert [c["id"] for c in truth["categories"]] == list(found.categories)
    assert [c["name"] for c in truth["categories"]] == ["disc", "square"]


@pytest.mark.parametrize("name", ["bccd", "coco128"])
def test_ids_of_a_coco_source_are_those_of_its_annotations(name, tmp_path):
    source = Path(os.environ.get("QAT_TEST_DATA", Path(__file__).parents[3] / "shared")) / "data" / name
    if not source.is_dir():
        pytest.skip(f"no data in {source}; set QAT_TEST_DATA")
    from qat_data.coco import CocoLayout, read_coco

    record = prepare(read_coco(CocoLayout(root=source)), tmp_path / "data", Request(train_images=2, val_images=9))
    truth = json.loads((tmp_path / "data" / record.val_annotations.file).read_text())
    found = read_identifiers(read_data(str(tmp_path / "data")))
    assert {view_name(i["file_name"]): i["id"] for i in truth["images"]} == dict(found.images)
    assert [c["id"] for c in truth["categories"]] == list(found.categories)
