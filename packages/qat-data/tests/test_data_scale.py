"""Large files: only what was chosen is made, labels alone need no image, and files of COCO's shape are drawn."""

import contextlib
import gc
import json
import shutil

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from qat_data import CocoLayout, DataError, Request, RequestError, check_any, prepare, read_coco, read_yolo
from qat_data.boxes import Label
from qat_data.bulk import ANNOTATIONS, IMAGES, write_annotations
from qat_data.cli import cli
from qat_data.health import SAME, near_duplicates, warnings
from qat_data.labelling import write_labels_only
from qat_data.records import Class
from qat_data.selection import select
from qat_data.sources import Images, SourceImage


def image(number, *labels, size=None, flat=0):
    name = f"{number}.jpg"
    return SourceImage(image_id=str(number), file_name=name, path=name, size=size, labels=labels, dropped=(), flat=flat)


def files_below(folder, *parts):
    found = [folder / part for part in parts]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for place in found
        for path in ([place] if place.is_file() else sorted(place.rglob("*")))
        if path.is_file()
    }


@pytest.mark.parametrize(("how", "number"), [("hash", 3), ("first", 2)])
def test_images_that_are_not_chosen_are_never_made(how, number):
    made = []

    def make(place):
        made.append(place)
        return image(place)

    chosen, _, _ = select(Images([(str(i), f"{i}.jpg") for i in range(100)], make), how, number, 0)
    assert [int(one.image_id) for one in chosen] == made
    assert len(made) == number


def test_images_of_a_split_are_a_sequence():
    images = Images([(str(i), f"{i}.jpg") for i in range(4)], image)
    assert [one.image_id for one in images] == ["0", "1", "2", "3"]
    assert images[-1] == image(3)
    assert images[1:3] == (image(1), image(2))
    with pytest.raises(IndexError):
        images[4]


def test_labels_alone_are_those_of_prepare_byte_for_byte_and_need_no_image(coco, tmp_path):
    coco.add_box([1.0, 2.0, 39.0, 30.0], image=11)
    coco.add_box([0.0, 0.0, 0.0, 5.0], image=12)
    request = Request(train_images=5)
    prepare(read_coco(CocoLayout(root=coco.path)), tmp_path / "whole", request)
    for split in ("train2017", "val2017"):
        shutil.rmtree(coco.path / split)
    labelled = write_labels_only(read_coco(CocoLayout(root=coco.path)), tmp_path / "labels", request)
    parts = ("labels", "train.txt", "val.txt", "data.yaml")
    assert files_below(tmp_path / "labels", *parts) == files_below(tmp_path / "whole", *parts)
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == sorted(parts)
    assert (labelled.train.images, labelled.val.images, labelled.classes) == (5, 3, ("cat", "dog"))


def test_a_folder_of_labels_alone_is_not_taken_for_a_prepared_one(coco, tmp_path):
    write_labels_only(read_coco(CocoLayout(root=coco.path)), tmp_path / "labels", Request())
    with pytest.raises(DataError, match=r"instances_train2017\.json: No such file"):
        check_any(tmp_path / "labels")


def test_labels_alone_refuse_what_prepare_refuses(coco, tmp_path):
    data = read_coco(CocoLayout(root=coco.path))
    with pytest.raises(RequestError, match=r"lies in .*, which is only read"):
        write_labels_only(data, coco.path / "out", Request())
    coco.content["val"] |= {"images": [], "annotations": []}
    coco.save()
    with pytest.raises(DataError, match="val: no images are listed in "):
        write_labels_only(read_coco(CocoLayout(root=coco.path)), tmp_path / "out", Request())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_says_what_it_labelled(coco, tmp_path, as_json):
    arguments = ["prepare", "--coco-root", str(coco.path), "--out", str(tmp_path / "out"), "--train-images", "9"]
    done = CliRunner().invoke(cli, [*arguments, "--labels-only", *(["--json"] if as_json else [])])
    assert done.exit_code == 0, done.output
    if as_json:
        assert json.loads(done.stdout)["train"] == {
            "images": 8,
            "boxes": 8,
            "images_without_boxes": 0,
            "notes": ["9 images were asked for, all 8 are used"],
        }
    else:
        assert "train  8 images, 8 boxes, 0 images without boxes\n" in done.stdout
        assert done.stdout.endswith(f"2 classes, no image was looked at\n{tmp_path / 'out'}\n")


def test_annotations_of_coco_s_shape_are_the_same_for_the_same_seed(tmp_path):
    one, two, other = (
        write_annotations(tmp_path / name, train_images=60, val_images=20, seed=seed)
        for name, seed in (("one", 3), ("two", 3), ("other", 4))
    )
    assert files_below(one, "annotations") == files_below(two, "annotations")
    assert not set(files_below(one, "annotations").values()) & set(files_below(other, "annotations").values())


def test_annotations_of_coco_s_shape_have_its_counts_polygons_and_crowds(tmp_path):
    root = write_annotations(tmp_path / "root", train_images=1000, val_images=50)
    content = json.loads((root / "annotations" / "instances_train2017.json").read_bytes())
    found = content["annotations"]
    assert (len(content["images"]), len(found)) == (1000, round(1000 * ANNOTATIONS / IMAGES))
    assert len(content["categories"]) == 80
    assert max(c["id"] for c in content["categories"]) == 90
    crowds = [a for a in found if a["iscrowd"]]
    assert 0 < len(crowds) < 0.03 * len(found)
    assert all(set(a["segmentation"]) == {"counts", "size"} for a in crowds)
    polygons = [a["segmentation"][0] for a in found if not a["iscrowd"]]
    assert all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in polygons)
    for a, polygon in zip([a for a in found if not a["iscrowd"]], polygons, strict=True):
        left, top, width, height = a["bbox"]
        assert left - 0.01 <= min(polygon[::2])
        assert max(polygon[::2]) <= left + width + 0.01
        assert top - 0.01 <= min(polygon[1::2])
        assert max(polygon[1::2]) <= top + height + 0.01
    assert [len(read_coco(CocoLayout(root=root)).train), len(read_coco(CocoLayout(root=root)).val)] == [1000, 50]


def test_annotations_are_refused_for_no_images(tmp_path):
    with pytest.raises(RequestError, match="val must be at least 1, found 0"):
        write_annotations(tmp_path / "root", train_images=1, val_images=0)


def test_the_command_draws_annotations_without_images(tmp_path):
    arguments = ["synth", "--annotations-only", "--images", "5", "--val-images", "2", "--out", str(tmp_path / "root")]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "coco_root": str(tmp_path / "root"), "train_images": 5, "val_images": 2, "seed": 0,
    }  # fmt: skip
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["annotations"]


CLASSES = (Class(index=0, name="cat"), Class(index=1, name="dog"), Class(index=2, name="owl"))


def test_rare_and_absent_classes_slivers_doubles_and_flat_boxes_are_warned_of():
    cats = [image(i, Label(0, 0.5, 0.5, 0.2, 0.2), size=(100, 100)) for i in range(21)]
    double = image(21, Label(0, 0.5, 0.5, 0.2, 0.2), Label(0, 0.501, 0.5, 0.2, 0.2), size=(100, 100))
    sliver = image(22, Label(1, 0.5, 0.5, 0.9, 0.08), size=(300, 100), flat=1)
    assert warnings("train", [*cats, double, sliver], CLASSES) == (
        "train: 1 of 3 classes have no box: owl",
        "train: 1 of 3 classes have fewer than 10 boxes: dog 1",
        "train: cat has 23 times as many boxes as dog",
        "train: 2 boxes overlap another of their class by more than 0.95, in 21.jpg",
        "train: 1 boxes are longer than 20 times their width, in 22.jpg",
        "train: 1 boxes state an area of 0, in 22.jpg",
    )


def test_nothing_is_warned_of_where_all_is_well():
    images = [image(i, *(Label(c, 0.2 + 0.3 * c, 0.5, 0.2, 0.2) for c in range(3))) for i in range(10)]
    assert warnings("val", images, CLASSES) == ()


@given(
    st.lists(
        st.tuples(*[st.sampled_from([0.3, 0.302, 0.305, 0.31, 0.4])] * 2, *[st.sampled_from([0.2, 0.201, 0.21])] * 2),
        max_size=7,
    )
)
def test_doubles_are_found_as_by_asking_every_pair(boxes):
    def overlap(a, b):
        wide = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
        high = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
        shared = max(wide, 0) * max(high, 0)
        return shared / (a[2] * a[3] + b[2] * b[3] - shared)

    slow = {
        i for i, a in enumerate(boxes) for j, b in enumerate(boxes) if i != j and overlap(a, b) > SAME
    }  # fmt: skip
    assert near_duplicates(image(1, *(Label(0, *box) for box in boxes))) == len(slow)


def test_a_check_of_a_source_shows_warnings_and_stays_without_fault(coco, tmp_path):
    checked = check_any(coco.path)
    assert checked.faults == ()
    assert "train: 1 of 2 classes have no box: dog" in checked.warnings
    done = CliRunner().invoke(cli, ["check", str(coco.path)])
    assert done.exit_code == 0
    assert "warning: val: 1 of 2 classes have fewer than 10 boxes: cat 3\n" in done.stdout
    assert done.stdout.endswith("no faults\n")


def test_stated_areas_of_zero_are_counted(coco):
    coco.add_box([4.0, 5.0, 6.0, 7.0], image=3, area=0)
    assert "train: 1 boxes state an area of 0, in 000003.jpg" in check_any(coco.path).warnings


def test_yolo_data_is_labelled_alone_too(coco, tmp_path):
    prepare(read_coco(CocoLayout(root=coco.path)), tmp_path / "view", Request())
    source = read_yolo(tmp_path / "view" / "data.yaml")
    labelled = write_labels_only(source, tmp_path / "out", Request(train_selection="first"))
    assert (labelled.train.boxes, labelled.val.boxes) == (8, 3)


@pytest.mark.parametrize("whole", [True, False])
def test_reading_leaves_the_garbage_collector_as_it_was(coco, whole):
    if not whole:
        (coco.path / "annotations" / "instances_val2017.json").write_text("{")
    try:
        for wanted in (False, True):
            (gc.enable if wanted else gc.disable)()
            with contextlib.nullcontext() if whole else pytest.raises(DataError, match="instances_val2017"):
                read_coco(CocoLayout(root=coco.path))
            assert gc.isenabled() is wanted
    finally:
        gc.enable()
