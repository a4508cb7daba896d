"""Detections with an exported file beside those of the floating-point checkpoint that its run started from."""

import json
import shutil

import attrs
import pytest
import torch
from PIL import Image
from ultralytics.models.yolo.detect import DetectionPredictor
from ultralytics.nn.tasks import DetectionModel

import qat_artifacts
from qat_artifacts import Exit
from qat_train.detector import load_detector, save_pt
from qat_train.export.drawing import GAP
from qat_train.export.matching import FoundObject, pair_objects
from qat_train.export.predicting import WIDTH, describe, predict
from qat_train.run import Run

from .conftest import CLASSES
from .exported import command

LOW = 0.05  # random weights are sure of nothing


@pytest.fixture
def image(finished):
    return finished.parent / "data" / "images" / "val" / "0.jpg"


@pytest.fixture
def alone(exported, tmp_path):
    """model.onnx without the record that names its run."""
    return shutil.copy(exported[0] / "model.onnx", tmp_path / "model.onnx")


@pytest.fixture
def moved(finished, exported, tmp_path):
    """A copy of run and export, where the run may be changed: `moved(checkpoint=...)` writes its record anew."""
    shutil.copytree(exported[0], tmp_path / "export")

    def change(**model):
        run = qat_artifacts.read(finished / "run.json", Run)
        path = tmp_path / "run" / "run.json"
        qat_artifacts.write(path, attrs.evolve(run, model=attrs.evolve(run.model, **model)))
        record = tmp_path / "export" / "export.json"
        body = json.loads(record.read_text())
        body["inputs"] = [ref for ref in body["inputs"] if ref["schema"] != Run.SCHEMA]
        body["inputs"] += [{"schema": Run.SCHEMA, "sha256": qat_artifacts.sha256_file(path), "path": "../run/run.json"}]
        record.write_text(json.dumps(body))
        return tmp_path / "export" / "model.onnx"

    return change


def one(model, image, **options):
    (found,) = predict(model, [image], **({"confidence": LOW, "out": None, "against": None} | options))
    return found


def checkpoint(path, classes=CLASSES, architecture="yolov10n.yaml"):
    """Random weights of a detector for these classes."""
    torch.manual_seed(1)
    model = DetectionModel(architecture, nc=len(classes), verbose=False)
    model.names = dict(enumerate(classes))
    save_pt(model, path, train_arguments={"imgsz": 64, "task": "detect"})
    return path


def test_both_sides_are_listed_paired_and_drawn_side_by_side(exported, finished, image, tmp_path, capfd):
    options = ["--image", image, "--conf", LOW, "--out", tmp_path, "--json"]
    assert command("predict", "--model", exported[0] / "model.onnx", *options) == Exit.OK
    (found,) = json.loads(capfd.readouterr().out)
    expected = [r for r in json.loads((exported[0] / "detections.json").read_text()) if r["image_id"] == 40]
    expected = sorted((r["score"] for r in expected if r["score"] > LOW), reverse=True)
    assert [o["score"] for o in found["int4"]] == pytest.approx(expected, abs=1e-4)
    assert {o["name"] for o in found["int4"] + found["fp32"]} <= set(CLASSES)
    assert (found["against"], found["note"]) == (str(finished.parent / "random.pt"), None)
    objects = [[FoundObject(**o | {"box": tuple(o["box"])}) for o in found[side]] for side in ("fp32", "int4")]
    assert found["pairing"] == qat_artifacts.unstructure(pair_objects(*objects))
    assert found["pairing"]["matched"]  # one epoch of a small rate: much is still where it was
    assert found["drawn"] == str(tmp_path / "0-fp32-int4.png")
    with Image.open(found["drawn"]) as drawn:
        assert (drawn.format, drawn.width) == ("PNG", 2 * WIDTH + GAP)


def test_the_floating_point_side_is_what_the_checkpoint_computes_of_the_same_square(exported, finished, tmp_path):
    wide = tmp_path / "wide.jpg"
    Image.effect_noise((120, 50), 90).convert("RGB").save(wide)
    found = one(exported[0] / "model.onnx", wide)
    arguments = {"conf": LOW, "imgsz": 64, "rect": False, "device": "cpu", "save": False, "verbose": False}
    predictor = DetectionPredictor(overrides=arguments | {"nms": False, "mode": "predict"})
    (expected,) = predictor(str(wide), model=load_detector(str(finished.parent / "random.pt")).model)
    assert len(found.fp32) == len(expected.boxes) > 0
    assert [o.score for o in found.fp32] == pytest.approx(expected.boxes.conf.tolist(), abs=1e-4)
    for ours, theirs in zip(found.fp32, expected.boxes.xyxy.tolist(), strict=True):
        assert ours.box == pytest.approx(theirs, abs=0.05)


def test_a_higher_confidence_keeps_the_best_of_both_sides(exported, image):
    model = exported[0] / "model.onnx"
    low = one(model, image)
    limit = low.fp32[len(low.fp32) // 2].score
    high = one(model, image, confidence=limit)
    for side in ("fp32", "int4"):
        assert getattr(high, side) == tuple(o for o in getattr(low, side) if o.score > limit)


def test_a_checkpoint_can_be_named_by_hand_and_its_classes_are_matched_by_name(alone, finished, image, tmp_path):
    own = finished.parent / "random.pt"
    assert one(alone, image, against=own).against == str(own)
    model = load_detector(str(own)).model
    turned = DetectionModel("yolov10n.yaml", nc=2, verbose=False)
    turned.names = {0: CLASSES[1], 1: CLASSES[0]}
    turned.load(model, verbose=False)
    save_pt(turned, tmp_path / "turned.pt", train_arguments={})
    straight, other = (one(alone, image, against=path).fp32 for path in (own, tmp_path / "turned.pt"))
    assert [(o.name, round(o.score, 2)) for o in other] == [(o.name, round(o.score, 2)) for o in straight]


def test_a_checkpoint_for_other_classes_is_refused(alone, image, tmp_path, capfd):
    other = checkpoint(tmp_path / "other.pt", ("disc", "ring", "cross"))
    assert command("predict", "--model", alone, "--image", image, "--against", other) == Exit.INPUT
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"error: {other}: 3 classes (disc, ring, cross), the exported model knows 2 classes (disc, square); only "
        "weights for the same classes can be set beside it, such as those that its run started from"
    )


def test_a_checkpoint_without_the_head_of_the_export_is_refused(alone, image, tmp_path, capfd):
    other = checkpoint(tmp_path / "v8.pt", architecture="yolov8n.yaml")
    assert command("predict", "--model", alone, "--image", image, "--against", other) == Exit.INPUT
    assert f"error: {other}: other has no one2one head, which the exported model uses" in capfd.readouterr().err


def test_a_checkpoint_that_was_named_and_is_not_there_is_refused(alone, image, tmp_path, capfd):
    gone = tmp_path / "gone.pt"
    assert command("predict", "--model", alone, "--image", image, "--against", gone) == Exit.INPUT
    assert f"error: {gone}: no such file" in capfd.readouterr().err


def test_without_a_checkpoint_the_export_is_alone_and_says_why(alone, image, tmp_path, capfd):
    assert command("predict", "--model", alone, "--image", image, "--conf", LOW, "--out", tmp_path) == Exit.OK
    drawn = tmp_path / "0-int4.png"
    first, *rest = capfd.readouterr().out.splitlines()
    assert first.startswith(f"{drawn}: {len(rest)} objects in INT4 alone: {tmp_path}/export.json is missing, which ")
    assert first.endswith(" names the run, or name the floating-point checkpoint with --against FILE.pt")
    with Image.open(drawn) as picture:
        assert picture.width == WIDTH


def test_a_starting_checkpoint_that_is_gone_or_another_is_told_with_what_to_do(moved, image, tmp_path):
    gone = str(tmp_path / "gone.pt")
    found = one(moved(checkpoint=gone), image)
    assert (found.fp32, found.pairing, found.against) == (None, None, None)
    assert found.note == (
        f"{gone}: the checkpoint that tiny/seed0 started from is gone; put the file back, or name the floating-point "
        "checkpoint with --against FILE.pt"
    )
    found = one(moved(checkpoint_sha256="1" * 64), image)
    assert found.fp32 is None
    assert "tiny/seed0 started from 111111111111; put the file back, or name" in found.note


def test_a_run_that_is_gone_or_has_changed_is_not_compared_with(moved, image, tmp_path):
    model = moved()
    assert one(model, image).fp32 is not None
    run = tmp_path / "run" / "run.json"
    run.write_text(run.read_text() + "\n")
    assert one(model, image).note.startswith(f"{tmp_path}/export/../run/run.json has changed since it was exported to ")
    run.unlink()
    assert one(model, image).note.startswith(f"{tmp_path}/export/../run/run.json is gone, the run of ")


def test_the_text_names_every_object_once(exported, image):
    found = one(exported[0] / "model.onnx", image)
    first, *rest = describe([found]).splitlines()
    pairing = found.pairing
    assert first == (
        f"{image}: {len(found.fp32)} objects in FP32 ({found.against}), {len(found.int4)} in INT4: "
        f"{len(pairing.matched)} matched, {len(pairing.only_fp32)} only in FP32, {len(pairing.only_int4)} only in INT4"
    )
    kinds = [line.split()[0] for line in rest]
    assert kinds == ["both"] * len(pairing.matched) + ["FP32"] * len(pairing.only_fp32) + ["INT4"] * len(
        pairing.only_int4
    )


def test_a_prediction_of_nothing_readable_is_refused(exported, tmp_path, capfd):
    model = exported[0] / "model.onnx"
    assert command("predict", "--model", model, "--image", tmp_path / "none.jpg") == Exit.INPUT
    (tmp_path / "text.jpg").write_text("no image")
    assert command("predict", "--model", model, "--image", tmp_path / "text.jpg") == Exit.INPUT
    (tmp_path / "text.onnx").write_text("no model")
    assert command("predict", "--model", tmp_path / "text.onnx", "--image", exported[0] / "model.onnx") == Exit.INPUT
    assert f"error: {tmp_path / 'none.jpg'}: no such file" in capfd.readouterr().err


def test_two_images_of_one_name_are_not_drawn_into_one_file(exported, image, tmp_path, capfd):
    other = shutil.copy(image, tmp_path / "0.png")
    options = ["--image", image, "--image", other, "--out", tmp_path / "drawn"]
    assert command("predict", "--model", exported[0] / "model.onnx", *options) == Exit.USAGE
    assert "error: --image: several files are called '0' and would be drawn into one" in capfd.readouterr().err
    assert not (tmp_path / "drawn").exists()
