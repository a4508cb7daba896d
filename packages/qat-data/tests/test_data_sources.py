"""What is read from COCO and YOLO sources, and what is refused with file, item and remedy."""

import json

import pytest

from qat_data import CocoLayout, DataError, Request, prepare, read_coco, read_yolo

from .conftest import make_images


def read(coco):
    coco.save()
    return read_coco(CocoLayout(root=coco.path))


def test_other_file_names_are_taken_by_layout(coco):
    (coco.path / "annotations" / "instances_train2017.json").rename(coco.path / "t.json")
    (coco.path / "train2017").rename(coco.path / "t")
    data = read_coco(CocoLayout(root=coco.path, train_json="t.json", train_dir="t"))
    assert data.train[0].path == coco.path / "t" / "000003.jpg"


def test_annotation_id_0_and_absent_ids_are_accepted(coco):
    coco.content["train"]["annotations"][0]["id"] = 0
    del coco.content["train"]["annotations"][1]["id"]
    assert len(read(coco).train) == 8


def _duplicate_image(content):
    content["images"].append(dict(content["images"][0], file_name="other.jpg"))


def _duplicate_name(content):
    content["images"].append(dict(content["images"][0], id=9999))


def _duplicate_annotation(content):
    content["annotations"].append(content["annotations"][0])


def _orphan(content):
    content["annotations"][0]["image_id"] = 12345


def _unknown_category(content):
    content["annotations"][0]["category_id"] = 8


def _escape(content):
    content["images"][0]["file_name"] = "../../etc/passwd"


def _absolute(content):
    content["images"][0]["file_name"] = "/etc/passwd"


def _newline(content):
    content["images"][0]["file_name"] = "a\nb.jpg"


def _short_box(content):
    content["annotations"][0]["bbox"] = [1.0, 2.0, 3.0]


def _text_box(content):
    content["annotations"][0]["bbox"] = "1 2 3 4"


def _category_name(content):
    content["categories"].append({"id": 91, "name": "cat"})


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (_duplicate_image, r"instances_train2017\.json: image id repeated: 3"),
        (_duplicate_name, r"file_name repeated: 000003\.jpg"),
        (_duplicate_annotation, "annotation id repeated: 1"),
        (_orphan, "annotation 1: image_id 12345 is not among the images"),
        (_unknown_category, "annotation 1: category_id 8 is not among the categories"),
        (_escape, r"file_name '\.\./\.\./etc/passwd' leaves the image folder"),
        (_absolute, "file_name '/etc/passwd' leaves the image folder"),
        (_newline, "holds a control character"),
        (_short_box, "annotation 1: bbox must hold 4 numbers, found 3"),
        (_text_box, r"Expected `array`, got `str` - at `\$\.annotations\[0\]\.bbox`"),
        (_category_name, "category name repeated: cat"),
    ],
)
def test_damaged_annotations_are_refused(coco, damage, text):
    damage(coco.content["train"])
    with pytest.raises(DataError, match=text):
        read(coco)


def test_splits_with_different_categories_are_refused(coco):
    coco.content["val"]["categories"].pop()
    with pytest.raises(DataError, match="list different categories"):
        read(coco)


def test_a_missing_or_broken_file_is_named(coco):
    file = coco.path / "annotations" / "instances_val2017.json"
    file.write_text("{ not json")
    with pytest.raises(DataError, match=r"instances_val2017\.json: JSON is malformed"):
        read_coco(CocoLayout(root=coco.path))
    file.unlink()
    with pytest.raises(DataError, match=r"instances_val2017\.json: No such file.*COCO root"):
        read_coco(CocoLayout(root=coco.path))


def test_many_repeated_ids_are_shown_ten_at_a_time(coco):
    images = coco.content["train"]["images"]
    images += [{"id": i, "file_name": f"{i}-{k}.jpg", "width": 1, "height": 1} for i in range(500, 520) for k in (0, 1)]
    with pytest.raises(DataError, match="and 10 more"):
        read(coco)


@pytest.fixture
def yolo(tmp_path):
    root = tmp_path / "set"
    for split, names in (("train", ["a.jpg", "b é.jpg"]), ("val", ["c.jpg"])):
        make_images(root / "images" / split, names)
        (root / "labels" / split).mkdir(parents=True)
    (root / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n\n")
    (root / "labels" / "val" / "c.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    return root


def test_yolo_labels_polygons_and_backgrounds_are_read(yolo, tmp_path):
    record = prepare(read_yolo(yolo / "data.yaml"), tmp_path / "out", Request())
    assert (record.train.images, record.train.boxes, record.train.images_without_boxes) == (2, 2, 1)
    assert [f.image_id for f in record.val.files] == ["images/val/c.jpg"]
    label = tmp_path / "out" / "labels" / "train" / "images__train__a.txt"
    assert label.read_text() == "0 0.5 0.5 0.5 0.5\n1 0.2 0.2 0.2 0.2\n"


def test_yolo_lists_and_mappings_are_read(yolo):
    (yolo / "train.txt").write_text("./images/train/a.jpg\n")
    (yolo / "data.yaml").write_text("path: .\ntrain: train.txt\nval: [images/val]\nnames: {0: cat, 1: dog}\n")
    data = read_yolo(yolo / "data.yaml")
    assert [len(data.train), len(data.val)] == [1, 1]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("2 0.5 0.5 0.5 0.5", r"a\.txt:1: class 2 is not among the 2 classes"),
        ("0.5 0.5 0.5 0.5 0.5", "class 0.5 is not among"),
        ("0 0.5 0.5 0.5", "a class and 4 numbers"),
        ("cat 0.5 0.5 0.5 0.5", "could not convert string to float"),
    ],
)
def test_wrong_labels_name_file_and_line(yolo, label, text):
    (yolo / "labels" / "train" / "a.txt").write_text(label + "\n")
    with pytest.raises(DataError, match=text):
        read_yolo(yolo / "data.yaml")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("train: images/train\nval: images/val\n", "names is missing"),
        ("train: nowhere\nval: images/val\nnames: [a, b]\n", "neither a folder nor a list"),
        ("- just\n- a list\n", "a mapping is needed"),
        ("train: images/train\nval: images/val\nnames: {0: a, 2: b}\n", "count from 0 without gaps"),
    ],
)
def test_wrong_data_yaml_is_refused(yolo, content, text):
    (yolo / "data.yaml").write_text(content)
    with pytest.raises(DataError, match=text):
        read_yolo(yolo / "data.yaml")


def test_annotations_stay_as_they_were_written(coco):
    text = (coco.path / "annotations" / "instances_train2017.json").read_text()
    read_coco(CocoLayout(root=coco.path))
    assert json.loads(text) == coco.content["train"]
