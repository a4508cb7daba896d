"""Annotation files that count wrongly rather than fail: refused, or mended and said."""

import json

import pytest

from .coco import tree_hash
from .commands import call


def refused(coco, tmp_path, *more):
    """Error text of a refused preparation, names shortened; nothing was written and nothing of the user's changed."""
    coco.save()
    before = tree_hash(coco.path)
    done = coco.prepare(tmp_path / "out", *more)
    assert (done.code, done.out) == (3, "")
    assert tree_hash(coco.path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["coco"]
    text = done.err.partition("error: ")[2]  # after the count of images
    return text.replace(str(coco.file()), "TRAIN").replace(str(coco.path), "COCO").strip()


def prepared(coco, out):
    coco.save()
    done = coco.prepare(out, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.fault("B2-21", "image id twice: exit 3, up to ten ids named", how="real")
def test_a_repeated_image_id(coco, tmp_path):
    images = coco.content["train"]["images"]
    images.append(images[0] | {"file_name": "other.jpg"})
    assert refused(coco, tmp_path) == "TRAIN: image id repeated: 3"
    images += [{"id": i, "file_name": f"{n}-{i}.jpg", "width": 40, "height": 30} for i in range(100, 113) for n in "ab"]
    assert refused(coco, tmp_path).endswith("107, 108 and 4 more")


@pytest.mark.fault("B2-22", "annotation id twice: exit 3, the ids named", how="real")
def test_a_repeated_annotation_id(coco, tmp_path):
    entries = coco.content["train"]["annotations"]
    entries.append(entries[1] | {"image_id": 3})
    assert refused(coco, tmp_path) == "TRAIN: annotation id repeated: 2"


@pytest.mark.fault(
    "B2-23", "annotation id 0, which evaluators count wrongly: accepted, ids run from 1 in our copy", how="real"
)
def test_annotation_id_zero(coco, tmp_path):
    coco.content["val"]["annotations"][0]["id"] = 0
    assert prepared(coco, tmp_path / "out")["val"]["boxes"] == 2
    found = [{"image_id": i, "category_id": 7, "bbox": [4, 5, 20, 15], "score": 0.9} for i in (5, 9)]
    (tmp_path / "found.json").write_text(json.dumps(found))
    done = call(
        "qat-data", "evaluate", "--dataset", tmp_path / "out", "--detections", tmp_path / "found.json", "--json"
    )
    assert json.loads(done.out)["metrics"]["map50_95"] == 1.0


@pytest.mark.fault("B2-24", "boxes without area, negative or NaN: dropped and counted, the image stays", how="real")
@pytest.mark.parametrize(
    ("box", "reason"),
    [([4, 5, 0, 9], "zero_area"), ([4, 5, -3, 9], "zero_area"), ([4, 5, float("nan"), 9], "not_finite")],
    ids=["zero", "negative", "NaN"],
)
def test_boxes_that_are_none(coco, tmp_path, box, reason):
    entries = coco.content["train"]["annotations"]
    entries.append(entries[0] | {"id": 50, "bbox": box})
    train = prepared(coco, tmp_path / "out")["train"]
    assert (train["images"], train["boxes"], train["dropped"][reason]) == (4, 4, 1)


@pytest.mark.fault(
    "B2-25", "box over the image's edge: clipped and counted; outside: dropped, the image stays", how="real"
)
def test_boxes_outside_the_image(coco, tmp_path):
    entries = coco.content["train"]["annotations"]
    entries[0]["bbox"] = [30.0, 5.0, 20.0, 15.0]
    entries.append(entries[1] | {"id": 50, "bbox": [50.0, 5.0, 9.0, 9.0]})
    train = prepared(coco, tmp_path / "out")["train"]
    assert (train["images"], train["boxes"], train["clipped"], train["dropped"]["outside"]) == (4, 4, 1, 1)
    assert (tmp_path / "out/labels/train/000003.txt").read_text() == "0 0.875 0.4166667 0.25 0.5\n"


@pytest.mark.fault("B2-26", "iscrowd: no label for training, an ignored region for evaluation", how="real")
def test_crowds(coco, tmp_path):
    for split, image in (("train", 3), ("val", 5)):
        entries = coco.content[split]["annotations"]
        entries.append(entries[0] | {"id": 50, "image_id": image, "iscrowd": 1, "bbox": [0.0, 0.0, 40.0, 30.0]})
    record = prepared(coco, tmp_path / "out")
    assert (record["train"]["boxes"], record["train"]["dropped"]["crowd"]) == (4, 1)
    kept = json.loads((tmp_path / "out/val.json").read_text())["annotations"]
    assert [entry["iscrowd"] for entry in kept] == [0, 1, 0]


@pytest.mark.fault(
    "B2-27", "category ids with gaps: numbered from 0 in the order of ids, the map in dataset.json", how="real"
)
def test_gaps_between_category_ids(coco, tmp_path):
    coco.content["train"]["annotations"][0]["category_id"] = 90
    record = prepared(coco, tmp_path / "out")
    assert [(c["index"], c["category_id"], c["name"]) for c in record["classes"]] == [(0, 7, "cat"), (1, 90, "dog")]
    assert (tmp_path / "out/labels/train/000003.txt").read_text().startswith("1 ")
    coco.content["train"]["categories"][1]["name"] = "fox"
    assert "list different categories" in refused_beside(coco, tmp_path)


def refused_beside(coco, tmp_path):
    coco.save()
    done = coco.prepare(tmp_path / "other")
    assert done.code == 3
    return done.err


@pytest.mark.fault("B2-28", "annotation of an unknown image or category: exit 3, both named", how="real")
def test_orphans(coco, tmp_path):
    coco.content["train"]["annotations"][1]["image_id"] = 12345
    assert refused(coco, tmp_path) == "TRAIN: annotation 2: image_id 12345 is not among the images"
    coco.content["train"]["annotations"][1] |= {"image_id": 3, "category_id": 8}
    assert refused(coco, tmp_path) == "TRAIN: annotation 2: category_id 8 is not among the categories"


@pytest.mark.fault("B2-32", "file_name that leaves the image folder: exit 3, no file is read", how="real")
@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "C:\\x.jpg", "a/../../b.jpg", "..", ""])
def test_names_that_leave_the_folder(coco, tmp_path, name):
    coco.content["train"]["images"][0]["file_name"] = name
    assert refused(coco, tmp_path) == f"TRAIN: file_name {name!r} leaves the image folder"


@pytest.mark.fault("B2-32", "file_name with a NUL or another control character: exit 3", how="real")
@pytest.mark.parametrize("name", ["a\0b.jpg", "a\nb.jpg"])
def test_names_with_control_characters(coco, tmp_path, name):
    coco.content["train"]["images"][0]["file_name"] = name
    assert refused(coco, tmp_path) == f"TRAIN: file_name {name!r} holds a control character"


@pytest.mark.fault(
    "B2-32",
    "a link out of the image folder is followed, as roots of links need it, and read as an image only",
    how="real",
)
def test_a_link_that_leads_out(coco, tmp_path):
    secret = coco.path / "secret.txt"
    secret.write_text("PASSWORD\n")
    coco.image(3).unlink()
    coco.image(3).symlink_to(secret)
    text = refused(coco, tmp_path)
    assert text == (
        "train: 1 of 4 images cannot be used (--allow-missing N leaves up to N out):\n"
        "  COCO/train2017/000003.jpg: no image of a known format, or empty"
    )


@pytest.mark.fault(
    "B2-33", "one base name in two folders: both are kept; names that would share a label file: exit 3", how="real"
)
def test_one_base_name_twice(coco, tmp_path):
    images = coco.content["train"]["images"]
    for folder, entry in zip("ab", images[:2], strict=True):
        (coco.path / "train2017" / folder).mkdir()
        coco.image(entry["id"]).rename(coco.path / "train2017" / folder / "x.jpg")
        entry["file_name"] = f"{folder}/x.jpg"
    prepared(coco, tmp_path / "out")
    labels = sorted(path.name for path in (tmp_path / "out/labels/train").iterdir())
    assert labels == ["000040.txt", "000077.txt", "a__x.txt", "b__x.txt"]
    coco.image(40).rename(coco.path / "train2017" / "a__x.png")
    images[2]["file_name"] = "a__x.png"
    assert "train label name repeated: a__x" in refused_beside(coco, tmp_path)


@pytest.mark.fault("B2-34", "a split without images: exit 3 before anything is written", how="real")
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_images(coco, tmp_path, split):
    coco.content[split] |= {"images": [], "annotations": []}
    assert refused(coco, tmp_path) == f"{split}: no images; 0 are listed in COCO"


@pytest.mark.fault("B2-35", "validation images without one box: exit 3, the metric would be undefined", how="real")
def test_validation_without_boxes(coco, tmp_path):
    coco.content["val"]["annotations"] = []
    assert refused(coco, tmp_path) == "val: no boxes in 2 images; average precision would be undefined"


@pytest.mark.fault("extra-annotations-missing", "annotation file missing, or no JSON: exit 3", how="real")
def test_an_annotation_file_that_is_not_there_or_no_json(coco, tmp_path):
    coco.file().unlink()
    done = coco.prepare(tmp_path / "out")
    text = (
        f"error: {coco.file()}: No such file or directory; is this a COCO root? Other names: --train-json, --val-json "
        "(in a ladder, data.train_json and data.val_json)\n"
    )
    assert (done.code, done.err) == (3, text)
    coco.file().write_bytes(b'{"images": [')
    done = coco.prepare(tmp_path / "out")
    assert done.code == 3
    assert done.err.startswith(f"error: {coco.file()}: ")
