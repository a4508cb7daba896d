"""What is read from COCO and YOLO sources, and what is refused with file, item and remedy."""

import json

import pytest

from qat_data import CocoLayout, DataError, Request, RequestError, prepare, read_coco, read_yolo
from qat_data.selection import select

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
        (_short_box, r"Expected `array` of at least length 4, got 3 - at `\$\.annotations\[0\]\.bbox`"),
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


def test_one_annotation_file_serves_both_splits(coco):
    data = read_coco(CocoLayout(root=coco.path, val_json="annotations/instances_train2017.json", val_dir="train2017"))
    assert [i.image_id for i in data.val] == [i.image_id for i in data.train]


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


def test_a_byte_order_mark_before_any_file_is_passed_over(yolo):
    before = read_yolo(yolo / "data.yaml")
    (yolo / "train.txt").write_text("./images/train/a.jpg\n./images/train/b é.jpg\n", encoding="utf-8-sig")
    (yolo / "data.yaml").write_text("train: train.txt\nval: images/val\nnames: [cat, dog]\n", encoding="utf-8-sig")
    label = yolo / "labels" / "train" / "a.txt"
    label.write_text(label.read_text(), encoding="utf-8-sig")
    after = read_yolo(yolo / "data.yaml")
    assert (after.classes, after.train, after.val) == (before.classes, before.train, before.val)


def test_a_byte_order_mark_before_coco_annotations_and_a_list_is_passed_over(coco, tmp_path):
    before = read(coco)
    for file in (coco.path / "annotations").iterdir():
        file.write_text(file.read_text(), encoding="utf-8-sig")
    data = read_coco(CocoLayout(root=coco.path))
    assert data == before
    (tmp_path / "chosen.txt").write_text("11\n", encoding="utf-8-sig")
    assert [i.image_id for i in select(data.train, f"list:{tmp_path / 'chosen.txt'}", None, 0)[0]] == ["11"]


def test_a_view_is_not_written_where_yolo_images_or_labels_are_looked_for(yolo):
    data = read_yolo(yolo / "data.yaml")
    for inside in ("images/train/out", "labels/val/out"):
        with pytest.raises(RequestError, match="which is only read"):
            prepare(data, yolo / inside, Request())
    assert prepare(data, yolo / "out", Request()).train.images == 2


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("2 0.5 0.5 0.5 0.5", r"a\.txt:1: class 2 is not among the 2 classes"),
        ("0.5 0.5 0.5 0.5 0.5", "class 0.5 is not among"),
        ("0 0.5 0.5 0.5", "a class and 4 numbers"),
        ("cat 0.5 0.5 0.5 0.5", "could not convert string to float"),
        ("0 0.5 0.5 0.5 0.5\nnan 0.5 0.5 0.5 0.5", r"a\.txt:2: class nan is not among the 2 classes"),
        ("inf 0.5 0.5 0.5 0.5", r"a\.txt:1: class inf is not among the 2 classes, which count from 0"),
        ("-inf 0.5 0.5 0.5 0.5", "class -inf is not among"),
    ],
)
def test_wrong_labels_name_file_and_line(yolo, label, text):
    (yolo / "labels" / "train" / "a.txt").write_text(label + "\n")
    with pytest.raises(DataError, match=text):
        read_yolo(yolo / "data.yaml")


def test_a_corner_that_is_no_number_drops_the_polygon(yolo):
    (yolo / "labels" / "train" / "a.txt").write_text("0 0.1 0.1 nan 0.1 0.3 0.3\n")
    (image, _) = read_yolo(yolo / "data.yaml").train
    assert (image.labels, image.dropped) == ((), ("not_finite",))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels/train/a.txt", r"a\.txt:3: byte 0xE9 is not UTF-8; save the file as UTF-8 text"),
        ("train.txt", r"train\.txt:3: byte 0xE9 is not UTF-8"),
        ("data.yaml", r"data\.yaml:3: byte 0xE9 is not UTF-8"),
    ],
)
def test_a_file_in_another_encoding_is_named_with_its_line(yolo, name, text):
    (yolo / "data.yaml").write_text("train: [images/train, train.txt]\nval: images/val\nnames: [cat, dog]\n")
    (yolo / "train.txt").write_text("")
    (yolo / name).write_bytes(b"\n\n\xe9\n")
    with pytest.raises(DataError, match=text):
        read_yolo(yolo / "data.yaml")


def test_annotations_in_another_encoding_or_without_end_are_refused(coco):
    file = coco.path / "annotations" / "instances_val2017.json"
    for damaged in (file.read_bytes().replace(b"000005.jpg", b"\xe9.jpg"), b'{"info": ' + b"[" * 100_000):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"instances_val2017\.json: .*; plain JSON in UTF-8 is needed"):
            read_coco(CocoLayout(root=coco.path))


SPLITS = "train: images/train\nval: images/val\n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("train: images/train\nval: images/val\n", "names is missing"),
        ("train: nowhere\nval: images/val\nnames: [a, b]\n", "neither a folder nor a list"),
        ("- just\n- a list\n", "a mapping is needed"),
        ("train: images/train\nval: images/val\nnames: {0: a, 2: b}\n", "count from 0 without gaps"),
        (SPLITS + "names: {0: a, x: b}\n", "names must be .* count from 0 without gaps; found the key 'x' among 2"),
        (SPLITS + "names: {0: a, 1: [b]}\n", "names: class 1 has no name that is text"),
        (SPLITS + "names: 2\n", "names must be a list"),
        (SPLITS + "nc: 5\nnames: [a, b]\n", "nc is 5, but names lists 2; correct one of them, or leave nc out"),
        ("train: {a: b}\nval: images/val\nnames: [a, b]\n", "train must be a folder, a list of images, or several"),
        (SPLITS + "names: [a, b]\ndate: 2024-13-01\n", "no YAML that can be read: month must be in 1..12"),
        ("[" * 3000, "nested too deeply; a mapping is needed, with train, val and names"),
        (SPLITS + "names: [a, b]\nbase: &b {x: 1}\nmore: {<<: [*b, *b]}\n", "no YAML .* merge keys .* are not read"),
        (SPLITS + "names: [a, b]\nb: &b [x]\nnc: [*b, *b]\n", "nc is a list; correct it, or leave it out"),
        (SPLITS + "names: [a, b]\nb: &b [x]\npath: {c: *b}\n", "path is a dict; correct it, or leave it out"),
        (f"train: {'x' * 300}\nval: images/val\nnames: [a, b]\n", "cannot be read: File name too long"),
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
