"""The drawn data set: deterministic, nested, with every class, in COCO's layout."""

import json

import pytest

from qat_data import CocoLayout, Request, RequestError, prepare, read_coco, synthesize

from .conftest import tree_hash


def content(root, split):
    return json.loads((root / "annotations" / f"instances_{split}2017.json").read_text())


def drawn(tmp_path, name, **numbers):
    given = {"train_images": 6, "val_images": 3, "imgsz": 64} | numbers
    return synthesize(tmp_path / name, **given)


def images(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.jpg")}


def test_the_same_seed_draws_the_same_bytes_and_another_one_others(tmp_path):
    one, two, other = (drawn(tmp_path, n, seed=s) for n, s in (("one", 4), ("two", 4), ("other", 5)))
    assert images(one) == images(two)
    assert content(one, "train") == content(two, "train")
    assert not set(images(one).values()) & set(images(other).values())


def test_a_longer_set_begins_with_the_shorter_one(tmp_path):
    short, long = drawn(tmp_path, "short"), drawn(tmp_path, "long", train_images=9)
    assert images(short).items() <= images(long).items()
    boxes = content(short, "train")["annotations"]
    assert content(long, "train")["annotations"][: len(boxes)] == boxes


def test_train_and_val_share_no_image(tmp_path):
    root = drawn(tmp_path, "set")
    train = {p.read_bytes() for p in (root / "train2017").iterdir()}
    assert not train & {p.read_bytes() for p in (root / "val2017").iterdir()}


def test_boxes_lie_in_their_images_and_every_class_occurs(tmp_path):
    root = drawn(tmp_path, "set", train_images=40)
    found = content(root, "train")
    size = {i["id"]: (i["width"], i["height"]) for i in found["images"]}
    assert {a["category_id"] for a in found["annotations"]} == {c["id"] for c in found["categories"]}
    for a in found["annotations"]:
        x, y, w, h = a["bbox"]
        assert x >= 0
        assert y >= 0
        assert w >= 1
        assert h >= 1
        assert x + w <= size[a["image_id"]][0]
        assert y + h <= size[a["image_id"]][1]
        assert 0 < a["area"] <= w * h


def test_it_can_be_prepared_and_stays_as_it_was(tmp_path):
    root = drawn(tmp_path, "set")
    before = tree_hash(root)
    record = prepare(read_coco(CocoLayout(root=root)), tmp_path / "out", Request())
    assert (record.train.images, record.val.images, len(record.classes)) == (6, 3, 6)
    assert tree_hash(root) == before


@pytest.mark.parametrize(("key", "value"), [("train_images", 0), ("val_images", 0), ("seed", -1), ("imgsz", 31)])
def test_numbers_out_of_range_are_refused(tmp_path, key, value):
    with pytest.raises(RequestError, match="must be at least"):
        drawn(tmp_path, "set", **{key: value})
    assert not (tmp_path / "set").exists()
