"""From real images to a 4-bit file and back to mAP: train, correct, export, run on ONNX Runtime, evaluate."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("QAT_TEST_DATA", ROOT.parent / "shared"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason=f"no data in {SHARED}; set QAT_TEST_DATA"),
]


def call(product, *arguments):
    command = [sys.executable, "-m", product, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def specification(folder, checkpoint, imgsz):
    return f"""
[run]
run_id = "loop/seed0"
trajectory_id = "loop/seed0"
seed = 0
[model]
variant = "yolo10n"
checkpoint = "{SHARED / "checkpoints" / checkpoint}"
[data]
dataset = "{folder / "data" / "dataset.json"}"
[training]
epochs = 1
imgsz = {imgsz}
batch = 8
lr0 = 1e-5
lrf = 0.1
device = "cpu"
"""


@pytest.fixture(
    scope="module",
    params=[("bccd", "yolov10n-bccd-192.pt", 192), ("coco128", "yolov10n-coco.pt", 320)],
    ids=lambda p: p[0],
)
def loop(request, tmp_path_factory):
    """(folder, export.json) of one epoch on 16 images, corrected and exported."""
    name, checkpoint, imgsz = request.param
    folder = tmp_path_factory.mktemp(name)
    source = ["--coco-root", SHARED / "data" / name, "--train-images", 16, "--val-images", 24]
    call("qat_data", "prepare", *source, "--out", folder / "data")
    (folder / "run.toml").write_text(specification(folder, checkpoint, imgsz))
    call("qat_train", "run", "--spec", folder / "run.toml", "--out", folder / "run")
    call("qat_qc", "run", "--run", folder / "run", "--out", folder / "qc")
    arguments = ["--run", folder / "run", "--qc", folder / "qc", "--method", "ema+qc", "--out", folder / "export"]
    return folder, json.loads(call("qat_train", "export", *arguments, "--json"))


def test_every_code_and_every_detection_is_that_of_the_corrected_model(loop):
    folder, record = loop
    after = json.loads((folder / "qc" / "qc.json").read_text())["after"]
    assert (record["series"], record["weights_sha256"]) == ("corrected", after["weights_sha256"])
    assert record["accuracy"]["torch"]["map50_95"] == pytest.approx(after["map50_95"], abs=1e-3)
    codes, agreement = record["codes"], record["agreement"]
    assert codes["equal_packed"] == codes["equal_onnx"] == codes["weights"] > 2_200_000
    assert (agreement["images"], agreement["detections"] > 20, agreement["reselected"]) == (24, True, 0)
    assert agreement["box_error_px"] <= 0.05
    assert agreement["score_error"] <= 1e-3


def test_coco_map_of_the_onnx_file_is_that_of_the_trained_model(loop):
    folder, record = loop
    found = {}
    for side, name in (("onnx", "detections.json"), ("torch", "detections-torch.json")):
        arguments = ["--dataset", folder / "data", "--detections", folder / "export" / name]
        call("qat_data", "evaluate", *arguments, "--out", folder / f"{side}.json")
        found[side] = json.loads((folder / f"{side}.json").read_text())["metrics"]["map50_95"]
    assert found["torch"] > 0.05
    assert abs(found["onnx"] - found["torch"]) <= 0.001
    # Two evaluators with rules of their own (crowds, interpolation), on the same detections.
    assert found["onnx"] == pytest.approx(record["accuracy"]["onnx"]["map50_95"], abs=0.05)


def test_files_are_as_small_as_claimed_and_verify(loop):
    folder, record = loop
    sizes = record["sizes"]
    assert 6 * sizes["onnx_int4"] <= sizes["onnx_fp32"]
    assert 7 * sizes["packed"] <= sizes["onnx_fp32"]
    assert (folder / "export" / "model.onnx").stat().st_size == sizes["onnx_int4"]
    call("qat_train", "verify-export", "--export", folder / "export")


def test_real_images_are_drawn_with_what_both_sides_find(loop):
    folder, record = loop
    pictures, path = record["pictures"], folder / "export" / "pictures.jpg"
    assert len(pictures["images"]) == 4
    # 4 bits ruin the checkpoint of COCO128, and an epoch on 16 images does not mend it: it finds little, surely.
    ruined = record["accuracy"]["torch"]["map50_95"] < 0.2
    assert sum(pictures["fp32"]) > 4
    assert sum(pictures["int4"]) > (0 if ruined else 4)
    assert 20_000 < path.stat().st_size <= 120_000
    image = folder / "data" / "images" / "val" / pictures["images"][0]
    arguments = ["--model", folder / "export" / "model.onnx", "--image", image, "--out", folder / "drawn", "--json"]
    (found,) = json.loads(call("qat_train", "predict", *arguments))
    assert Path(found["against"]).parent == SHARED / "checkpoints"
    # The evaluator resizes before it letterboxes and the predictor at once: a score at the limit may cross it.
    for side in ("fp32", "int4"):
        assert len(found[side]) == pytest.approx(pictures[side][0], abs=2)
    pairing = found["pairing"]
    assert ruined or len(pairing["matched"]) > len(pairing["only_fp32"])
    assert Path(found["drawn"]).is_file()
