"""`qat-data evaluate`: where the truth comes from, and the command."""

import importlib.metadata
import json
import shutil
import subprocess
import sys

import attrs
import pytest

import qat_artifacts
from qat_data import (
    DataError,
    Evaluation,
    Request,
    check_any,
    evaluate,
    prepare,
    read_annotations,
    read_detections,
    read_truth,
    read_yolo,
)
from qat_data.evaluate import TOLD_FROM

from .conftest import annotations, make_images, prepared_truth, results, write_json

BOX = [4.0, 5.0, 10.0, 8.0]  # the only box of every image of the COCO root
AWAY = [30.0, 2.0, 6.0, 6.0]


def test_a_prepared_folder_is_evaluated_when_its_source_is_gone_and_it_has_moved(coco, tmp_path):
    prepared_truth(coco, tmp_path / "data", val_images=2)
    (tmp_path / "data").rename(tmp_path / "moved")
    shutil.rmtree(coco.path)
    truth = read_truth(tmp_path / "moved" / "dataset.json")
    assert truth == attrs.evolve(read_truth(tmp_path / "moved"), files=truth.files)
    assert list(truth.images) == [5, 9]
    result = evaluate(truth, read_detections(write_json(tmp_path / "f.json", results((9, 7, BOX, 0.5))), truth))
    assert result.metrics.map50_95 == pytest.approx(51 / 101, abs=1e-12)
    assert result.dataset.name == "coco-hash0-8"


def test_ids_keep_their_gaps_and_annotations_are_numbered_from_1(coco, tmp_path):
    coco.content["val"]["annotations"][0]["id"] = 0
    prepared_truth(coco, tmp_path / "data")
    content = json.loads((tmp_path / "data" / "val.json").read_text())
    assert [a["id"] for a in content["annotations"]] == [1, 2, 3]
    assert [i["id"] for i in content["images"]] == [5, 9, 301]
    assert content["categories"] == [{"id": 7, "name": "cat"}, {"id": 90, "name": "dog"}]


def test_boxes_that_no_overlap_is_defined_for_are_left_out_and_counted(coco, tmp_path):
    for box in ([1.0, 1.0, float("nan"), 5.0], [1.0, 1.0, 5.0, -2.0], [1.0, 1.0, 1e-200, 1e-200]):
        coco.add_box(box, split="val", image=5)
    file = coco.path / "annotations" / "instances_val2017.json"
    assert prepared_truth(coco, tmp_path / "data").images == read_annotations(file).images
    assert read_annotations(file).unusable == 3


def test_a_yolo_source_is_evaluated_by_numbered_images_and_classes_from_1(tmp_path):
    make_images(tmp_path / "images", ["a.jpg", "b.jpg"])
    (tmp_path / "labels").mkdir()
    for name in "ab":
        (tmp_path / "labels" / f"{name}.txt").write_text("1 0.5 0.5 0.5 0.4\n")
    (tmp_path / "my.yaml").write_text("train: images\nval: images\nnames: [cat, dog]\n")
    prepare(read_yolo(tmp_path / "my.yaml"), tmp_path / "data", Request())
    truth = read_truth(tmp_path / "data")
    assert truth.categories == {1: "cat", 2: "dog"}
    (box,) = truth.images[1]
    assert (box.category_id, box.crowd) == (2, False)
    assert (*box.box, box.area) == pytest.approx((10, 9, 20, 12, 240))
    entries = results((1, 2, [10, 9, 20, 12], 0.9), (2, 2, [10, 9, 20, 12], 0.8))
    result = evaluate(truth, read_detections(write_json(tmp_path / "f.json", entries), truth))
    assert result.metrics.map50_95 == pytest.approx(1.0, abs=1e-12)


def test_changed_annotations_are_refused_and_the_check_finds_them(coco, tmp_path):
    prepared_truth(coco, tmp_path / "data")
    file = tmp_path / "data" / "val.json"
    file.write_text(file.read_text().replace("10.0", "11.0"))
    with pytest.raises(DataError, match=r"val\.json: its content changed since the data set was prepared; prepare it"):
        read_truth(tmp_path / "data")
    assert [f"{file}: its content changed since the data set was prepared"] == list(check_any(tmp_path / "data").faults)
    file.unlink()
    with pytest.raises(DataError, match=r"val\.json: No such file"):
        read_truth(tmp_path / "data")
    assert check_any(tmp_path / "data").faults == (f"{file}: missing",)


def test_a_folder_that_was_prepared_before_this_command_says_what_to_do(coco, tmp_path):
    prepared_truth(coco, tmp_path / "data")
    file = tmp_path / "data" / "dataset.json"
    write_json(file, {k: v for k, v in json.loads(file.read_text()).items() if k != "val_annotations"})
    with pytest.raises(
        DataError, match=r"dataset\.json: no val_annotations: .*prepare the data set again: qat-data pr"
    ):
        read_truth(tmp_path / "data")
    assert check_any(tmp_path / "data").faults == ()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["annotations"].append(c["annotations"][0]), "annotation id repeated: 1"),
        (lambda c: c["annotations"][0].update(image_id=6), "annotation 1: image_id 6 is not among the images"),
        (lambda c: c["annotations"][0].update(area="80"), r"Expected `float \| null`, got `str`"),
        (lambda c: c.update(annotations=[]), "no boxes in 1 images; average precision would be undefined"),
        (lambda c: c["annotations"][0].update(iscrowd=1), "no boxes in 1 images"),
    ],
)
def test_damaged_annotations_are_refused(tmp_path, change, text):
    content = annotations([5])
    change(content)
    with pytest.raises(DataError, match=rf"truth\.json: .*{text}"):
        read_annotations(write_json(tmp_path / "truth.json", content))


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "qat_data", "evaluate", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def files(coco, tmp_path):
    """A prepared folder and detections of half its boxes."""
    truth = prepared_truth(coco, tmp_path / "data")
    entries = results((5, 7, BOX, 0.9), (9, 7, AWAY, 0.4))
    assert read_detections(write_json(tmp_path / "found.json", entries), truth).entries
    return tmp_path / "data", tmp_path / "found.json"


def test_json_is_the_only_thing_on_stdout_and_the_artifact_says_the_same(files, tmp_path, evaluator):
    data, detections = files
    out = tmp_path / "deep" / "coco_eval.json"
    done = run("--dataset", data, "--detections", detections, "--out", out, "--json", "--evaluator", evaluator)
    assert (done.returncode, done.stderr) == (0, "")
    record = qat_artifacts.read(out, Evaluation)
    assert json.loads(done.stdout) == json.loads(qat_artifacts.dumps(qat_artifacts.unstructure(record)))
    assert (record.evaluator.name, record.evaluator.max_detections) == (evaluator, (1, 10, 100))
    assert record.evaluator.iou_thresholds == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    assert record.evaluator.version == importlib.metadata.version(evaluator)
    inputs = qat_artifacts.read_header(out).inputs
    hashes = [qat_artifacts.sha256_file(p) for p in (data / "dataset.json", data / "val.json", detections)]
    assert [(i.schema, i.sha256) for i in inputs] == list(
        zip(["qat-data/dataset", "file", "file"], hashes, strict=True)
    )
    assert [record.truth.sha256, record.detections.sha256] == hashes[1:]


def test_the_same_files_give_the_same_bytes(files, tmp_path):
    data, detections = files
    for name in ("one.json", "two.json"):
        assert run("--dataset", data, "--detections", detections, "--out", tmp_path / name).returncode == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_people_get_a_table_and_the_place_of_the_artifact(files, tmp_path):
    data, detections = files
    done = run("--dataset", data, "--detections", detections, "--out", tmp_path / "e.json")
    lines = done.stdout.splitlines()
    assert lines[0] == "coco-hash0-8"
    assert "truth      3 images, 3 boxes, 0 crowds" in lines
    assert "mAP50-95   0.3366   mAP50 0.3366   mAP75 0.3366" in lines
    assert "  by size  small 0.3366   medium      -   large      -" in lines
    assert "cat         3      3           2   0.3366  0.3366" in lines
    assert lines[-1] == str(tmp_path / "e.json")


def test_an_annotation_file_serves_where_nothing_was_prepared(coco, files):
    _, detections = files
    file = coco.path / "annotations" / "instances_val2017.json"
    done = run("--annotations", file, "--detections", detections, "--json")
    content = json.loads(done.stdout)
    assert (done.returncode, content["dataset"]) == (0, None)
    assert content["metrics"]["map50"] == pytest.approx(34 / 101)


def test_no_detection_is_a_result_and_exits_0(files, tmp_path):
    done = run("--dataset", files[0], "--detections", write_json(tmp_path / "none.json", []), "--json")
    assert (done.returncode, json.loads(done.stdout)["metrics"]["map50_95"]) == (0, 0.0)


def test_much_to_match_is_told_on_stderr(files, tmp_path):
    many = write_json(tmp_path / "many.json", results(*[(5, 7, AWAY, 0.5)] * TOLD_FROM))
    done = run("--dataset", files[0], "--detections", many, "--json", "--evaluator", "pycocotools")
    assert done.stderr.startswith(f"{TOLD_FROM} detections in 3 images are being matched by pycocotools ")
    assert json.loads(done.stdout)["detections"]["surplus"] == TOLD_FROM - 100


def test_wrong_requests_and_files_have_their_exit_codes_and_write_nothing(coco, files, tmp_path):
    data, detections = files
    bad = write_json(tmp_path / "bad.json", results((5, 7, BOX, 2.0)))
    annotation_file = coco.path / "annotations" / "instances_val2017.json"
    for arguments, code, text in [
        (("--detections", detections), 2, "exactly one of --dataset and --annotations is needed"),
        (("--detections", detections, "--dataset", data, "--annotations", annotation_file), 2, "exactly one of"),
        (("--detections", detections, "--dataset", data, "--evaluator", "coco"), 2, "'coco' is not one of"),
        (("--detections", bad, "--dataset", data), 3, "bad.json: 1 of 1 entries, counted from 0"),
        (("--detections", tmp_path / "nowhere.json", "--dataset", data), 3, "nowhere.json: No such file"),
        (("--detections", detections, "--dataset", tmp_path / "no"), 3, "No such file"),
        (("--detections", detections, "--dataset", coco.path), 3, "dataset.json: No such file"),
    ]:
        done = run(*arguments, "--out", tmp_path / "e.json")
        assert (done.returncode, text in done.stderr, done.stdout) == (code, True, ""), done.stderr
        assert not (tmp_path / "e.json").exists()


def test_a_missing_evaluator_exits_7_with_the_remedy(files):
    code = """
import importlib.metadata, sys
known = importlib.metadata.version
def version(name):
    if name == "faster-coco-eval":
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)
importlib.metadata.version = version
from qat_data.cli import main
main()
"""
    arguments = ["evaluate", "--dataset", files[0], "--detections", files[1], "--evaluator", "faster-coco-eval"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        7,
        "error: faster-coco-eval is not installed: pip install 'qat-data[fast]'\n",
    )
