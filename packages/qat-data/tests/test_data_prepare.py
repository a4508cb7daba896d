"""Preparing: counts, order, nesting, the view, and that the source is only read."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import qat_artifacts
from qat_data import CocoLayout, DataError, Dataset, Request, RequestError, check_any, prepare, read_coco
from qat_data.boxes import Label, to_label
from qat_data.records import LeftOut
from qat_data.selection import hash_key
from qat_data.text import describe

from .conftest import TRAIN_IDS, tree_hash


def prepared(coco, out, **request):
    return prepare(read_coco(CocoLayout(root=coco.path)), out, Request(**request))


def ids(split):
    return [f.image_id for f in split.files]


def test_everything_is_taken_by_default_and_read_back(coco, tmp_path):
    record = prepared(coco, tmp_path / "out")
    assert record == qat_artifacts.read(tmp_path / "out" / "dataset.json", Dataset)
    assert (record.train.images, record.val.images) == (8, 3)
    assert [(c.index, c.name, c.category_id) for c in record.classes] == [(0, "cat", 7), (1, "dog", 90)]


def test_train_order_is_that_of_the_hash_and_val_that_of_the_ids(coco, tmp_path):
    record = prepared(coco, tmp_path / "out", data_seed=5)
    assert ids(record.train) == sorted(map(str, TRAIN_IDS), key=lambda i: hash_key(5, i))
    assert ids(record.val) == ["5", "9", "301"]


def test_the_order_of_the_hash_is_pinned_for_ever():
    assert hash_key(0, "139") == "cc8a757755507bfe7756ff830aaaaab0644ca8ba0202ba97e193e6ca79b06b5c"
    assert sorted("12345", key=lambda i: hash_key(0, i)) == ["4", "3", "2", "5", "1"]


@pytest.mark.parametrize("small", range(1, 8))
def test_a_smaller_subset_is_a_prefix_of_a_larger_one(coco, tmp_path, small):
    larger = prepared(coco, tmp_path / "larger", train_images=small + 1)
    smaller = prepared(coco, tmp_path / "smaller", train_images=small)
    assert ids(larger.train)[:small] == ids(smaller.train)


def test_two_roots_give_the_same_bytes(coco, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(coco.path, elsewhere / "coco")
    one = prepared(coco, tmp_path / "one")
    two = prepare(read_coco(CocoLayout(root=elsewhere / "coco")), tmp_path / "two", Request())
    assert one.fingerprint == two.fingerprint
    for name in ("data.yaml", "train.txt", "val.txt", "val.json", *(f"labels/train/{i:06d}.txt" for i in TRAIN_IDS)):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("change", ["pixel", "box", "class name", "order"])
def test_the_fingerprint_sees_every_change(coco, tmp_path, change):
    before = prepared(coco, tmp_path / "before").fingerprint
    seed = 0
    if change == "pixel":
        image = coco.path / "train2017" / "000003.jpg"
        image.write_bytes(image.read_bytes()[:-2] + b"\x00\xff\xd9")
    elif change == "box":
        coco.content["train"]["annotations"][0]["bbox"][0] += 0.5
    elif change == "class name":
        for content in coco.content.values():
            content["categories"][0]["name"] = "lynx"
    else:
        seed = 1
    coco.save()
    assert prepared(coco, tmp_path / "after", data_seed=seed).fingerprint != before


def test_the_source_is_not_touched(coco, tmp_path):
    before = tree_hash(coco.path)
    prepared(coco, tmp_path / "out")
    assert tree_hash(coco.path) == before


def test_the_view_links_images_and_writes_normalised_labels(coco, tmp_path):
    prepared(coco, tmp_path / "out")
    image = tmp_path / "out" / "images" / "train" / "000003.jpg"
    assert image.is_symlink()
    assert image.resolve() == (coco.path / "train2017" / "000003.jpg").resolve()
    assert (tmp_path / "out" / "labels" / "train" / "000003.txt").read_text() == "0 0.225 0.3 0.25 0.2666667\n"
    content = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert content == {"train": "train.txt", "val": "val.txt", "names": {0: "cat", 1: "dog"}}
    assert "./images/train/000003.jpg" in (tmp_path / "out" / "train.txt").read_text().splitlines()


def test_every_kind_of_bad_box_is_dropped_and_counted(coco, tmp_path):
    coco.add_box([1.0, 1.0, 5.0, 5.0], iscrowd=1)
    coco.add_box([1.0, 1.0, 0.0, 5.0])
    coco.add_box([1.0, 1.0, 5.0, -2.0])
    coco.add_box([100.0, 1.0, 5.0, 5.0])
    coco.add_box([float("nan"), 1.0, 5.0, 5.0])
    coco.add_box([35.0, 20.0, 10.0, 20.0])
    split = prepared(coco, tmp_path / "out").train
    dropped = split.dropped
    assert (dropped.crowd, dropped.zero_area, dropped.outside, dropped.not_finite) == (1, 2, 1, 1)
    assert (split.clipped, split.boxes) == (1, 9)
    assert (tmp_path / "out" / "labels" / "train" / "000003.txt").read_text().splitlines()[1] == (
        "0 0.9375 0.8333333 0.125 0.3333333"
    )


def test_an_image_whose_boxes_all_go_stays_as_a_background(coco, tmp_path):
    coco.content["train"]["annotations"][0]["bbox"] = [1.0, 1.0, 0.0, 0.0]
    coco.save()
    split = prepared(coco, tmp_path / "out").train
    assert (split.images, split.images_without_boxes) == (8, 1)
    assert (tmp_path / "out" / "labels" / "train" / "000003.txt").read_text() == ""


def test_more_images_than_there_are_means_all_with_a_notice(coco, tmp_path):
    record = prepared(coco, tmp_path / "out", train_images=2048)
    assert record.train.images == 8
    assert record.train.notes == ("2048 images were asked for, all 8 are used",)


def test_a_list_chooses_by_id_or_name_in_its_order(coco, tmp_path):
    chosen = tmp_path / "chosen.txt"
    chosen.write_text("2000\n000011.jpg\n")
    record = prepared(coco, tmp_path / "out", train_selection=f"list:{chosen}")
    assert ids(record.train) == ["2000", "11"]
    assert record.selection.train == "list:chosen.txt"
    chosen.write_text("4711\n")
    with pytest.raises(DataError, match=r"chosen\.txt: not among the images: 4711"):
        prepared(coco, tmp_path / "again", train_selection=f"list:{chosen}")


def test_missing_and_broken_images_are_listed_unless_allowed(coco, tmp_path):
    (coco.path / "train2017" / "000003.jpg").unlink()
    whole = (coco.path / "train2017" / "000011.jpg").read_bytes()
    (coco.path / "train2017" / "000011.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"train: 2 of 8 images cannot be used .*--allow-missing") as found:
        prepared(coco, tmp_path / "out")
    assert "000003.jpg: missing" in str(found.value)
    assert "truncated" in str(found.value).lower()
    assert not (tmp_path / "out").exists()
    record = prepared(coco, tmp_path / "out", allow_missing=2)
    assert record.train.images == 6
    assert "2 images left out" in record.train.notes[0]
    assert record.train.left_out == LeftOut(missing=1, broken=1)
    assert "images left out: 1 missing, 1 broken" in describe(record)


@pytest.mark.parametrize("size", [(9, 30), (40, 9)])
def test_an_image_that_a_reader_would_leave_out_is_refused_or_counted(coco, tmp_path, size):
    image = coco.content["train"]["images"][0]
    Image.new("RGB", size).save(coco.path / "train2017" / image["file_name"])
    image["width"], image["height"] = size
    coco.save()
    with pytest.raises(DataError, match=rf"000003\.jpg: the image is {size[0]} x {size[1]}; .* 10 pixels or more"):
        prepared(coco, tmp_path / "out")
    split = prepared(coco, tmp_path / "out", allow_missing=1).train
    assert (split.images, split.left_out) == (7, LeftOut(too_small=1))


def test_an_image_of_ten_pixels_a_side_is_taken(coco, tmp_path):
    image = coco.content["train"]["images"][0]
    Image.new("RGB", (10, 10)).save(coco.path / "train2017" / image["file_name"])
    image["width"], image["height"] = 10, 10
    coco.save()
    assert prepared(coco, tmp_path / "out").train.images == 8


def test_images_of_val_that_are_in_train_are_counted_and_named(coco, tmp_path):
    for k, name in enumerate(("000005.jpg", "000009.jpg", "000301.jpg")):
        Image.new("RGB", (40, 30), (k, 255, 0)).save(coco.path / "val2017" / name)
    record = prepared(coco, tmp_path / "apart")
    assert (record.val_images_in_train, record.val.notes) == (0, ())
    shutil.copy(coco.path / "train2017" / "000011.jpg", coco.path / "val2017" / "000009.jpg")
    record = prepared(coco, tmp_path / "out")
    assert record.val_images_in_train == 1
    assert record.val.notes == ("1 of 3 images are in train too, byte for byte: 000009.jpg",)
    assert record.val.notes[0] in describe(record)
    assert check_any(coco.path).val_images_in_train == check_any(tmp_path / "out").val_images_in_train == 1


def test_a_record_without_the_newer_counts_is_read(coco, tmp_path):
    prepared(coco, tmp_path / "out")
    file = tmp_path / "out" / "dataset.json"
    content = json.loads(file.read_text())
    for block in (content["train"], content["val"]):
        del block["left_out"]
    del content["val_images_in_train"]
    file.write_text(json.dumps(content))
    assert qat_artifacts.read(file, Dataset).train.left_out == LeftOut()


def test_a_jpeg_that_a_reader_would_repair_is_mended_in_a_copy(coco, tmp_path):
    image = coco.path / "train2017" / "000003.jpg"
    image.write_bytes(image.read_bytes() + b"trailing bytes")
    before = image.read_bytes()
    record = prepared(coco, tmp_path / "out")
    copy = tmp_path / "out" / "images" / "train" / "000003.jpg"
    assert record.train.copied == 1
    assert not copy.is_symlink()
    assert copy.read_bytes() == before + b"\xff\xd9"
    assert image.read_bytes() == before


def test_an_image_of_another_size_than_its_annotation_is_refused(coco, tmp_path):
    coco.content["val"]["images"][0]["width"] = 41
    coco.save()
    with pytest.raises(DataError, match="the image is 40 x 30, the annotations say 41 x 30"):
        prepared(coco, tmp_path / "out")


def test_a_split_without_a_box_is_refused(coco, tmp_path):
    coco.content["val"]["annotations"] = []
    coco.save()
    with pytest.raises(DataError, match="val: no boxes in 3 images; average precision would be undefined"):
        prepared(coco, tmp_path / "out")


def test_an_occupied_folder_is_left_alone(coco, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="exists and is not an empty folder"):
        prepared(coco, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("inside", ["out", "train2017/deep/out", "linked"])
def test_a_folder_in_the_source_is_refused_and_nothing_written(coco, tmp_path, inside):
    before = tree_hash(coco.path)
    out = coco.path / inside
    if inside == "linked":
        (tmp_path / "link").symlink_to(coco.path)
        out = tmp_path / "link" / "out"
    with pytest.raises(RequestError, match=r"--out .* lies in .*, which is only read; choose a folder outside it"):
        prepared(coco, out)
    assert tree_hash(coco.path) == before


def test_a_failure_while_writing_leaves_nothing(coco, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "symlink_to", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        prepared(coco, tmp_path / "deep" / "out")
    assert list((tmp_path / "deep").iterdir()) == []


coordinate = st.floats(-200, 200, allow_nan=False)


@given(box=st.tuples(coordinate, coordinate, coordinate, coordinate))
@example(box=(0.0, 0.0, 5e-324, 1.0))
@example(box=(0.0, 0.0, 1.0, 5e-324))
def test_a_label_always_lies_within_the_image(box):
    label = to_label(0, box, 100.0, 50.0)
    if isinstance(label, Label):
        assert 0 < label.width <= 1
        assert 0 < label.height <= 1
        for centre, extent in ((label.x, label.width), (label.y, label.height)):
            assert centre - extent / 2 >= -1e-12
            assert centre + extent / 2 <= 1 + 1e-12
    else:
        assert label in ("zero_area", "outside")


@given(left=st.floats(0, 90), top=st.floats(0, 40), wide=st.floats(0.01, 10), high=st.floats(0.01, 10))
def test_a_box_inside_the_image_is_kept_as_it_is(left, top, wide, high):
    label = to_label(3, (left, top, wide, high), 100.0, 50.0)
    assert isinstance(label, Label)
    assert not label.clipped
    assert label.width * 100 == pytest.approx(wide)
    assert label.x * 100 == pytest.approx(left + wide / 2)


def test_a_prepared_folder_moves_with_the_source_beside_it_and_stays_linked_to_one_elsewhere(coco, tmp_path):
    beside, elsewhere = tmp_path / "prepared", tmp_path / "other" / "prepared"
    for out in (beside, elsewhere):
        prepare(read_coco(CocoLayout(root=coco.path)), out, Request())
    elsewhere.parent.rename(tmp_path / "again")
    assert check_any(tmp_path / "again" / "prepared").faults == ()
    (tmp_path / "moved").mkdir()
    for path in (coco.path, beside):
        path.rename(tmp_path / "moved" / path.name)
    assert check_any(tmp_path / "moved" / "prepared").faults == ()


def test_a_png_without_exif_is_read(coco, tmp_path):
    image = coco.path / "train2017" / "000003.jpg"
    with Image.open(image) as opened:
        opened.save(image, "PNG")
    assert prepared(coco, tmp_path / "out").train.images == 8
