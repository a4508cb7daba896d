"""Checking prepared folders and sources, and the commands with their exit codes."""

import json
import re
import subprocess
import sys

import pytest

from qat_data import CocoLayout, DataError, Request, check_any, prepare, read_coco


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "qat_data", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(coco, tmp_path):
    prepare(read_coco(CocoLayout(root=coco.path)), tmp_path / "out", Request())
    return tmp_path / "out"


def test_a_fresh_folder_and_its_source_have_no_faults(coco, folder):
    assert check_any(folder).faults == ()
    assert check_any(folder / "dataset.json").faults == ()
    source = check_any(coco.path)
    assert (source.format, source.train.images, source.faults) == ("coco", 8, ())


def _image(folder, coco):
    (coco.path / "train2017" / "000003.jpg").write_bytes(b"something else")


def _gone(folder, coco):
    (coco.path / "val2017" / "000005.jpg").unlink()


def _label(folder, coco):
    (folder / "labels" / "train" / "000003.txt").write_text("1 0.5 0.5 0.1 0.1\n")


def _list(folder, coco):
    (folder / "train.txt").write_text("./images/train/000003.jpg\n")


def _yaml(folder, coco):
    (folder / "data.yaml").unlink()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (_image, r"000003\.jpg: its content changed"),
        (_gone, r"000005\.jpg: missing, or its link points nowhere"),
        (_label, "labels, names or order differ from the fingerprint"),
        (_list, r"train\.txt: does not list the images"),
        (_yaml, r"data\.yaml: missing"),
    ],
)
def test_every_damage_is_found(coco, folder, damage, text):
    damage(folder, coco)
    (fault,) = check_any(folder).faults
    assert re.search(text, fault)
    done = run("check", folder)
    assert done.returncode == 3
    assert "1 faults" in done.stdout


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        check_any(tmp_path / "nowhere")


def test_prepare_prints_one_document_with_json(coco, tmp_path):
    done = run("prepare", "--coco-root", coco.path, "--out", tmp_path / "d", "--train-images", 4, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["train"]["images"] == 4


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--train-images", "0"), 2, "--train-images"),
        (("--train-selection", "random"), 2, "expected hash, first or list:FILE"),
        (("--data", "x.yaml"), 2, "exactly one of --coco-root and --data"),
        (("--val-dir", "nowhere"), 3, "val: 3 of 3 images cannot be used"),
        (("--val-json", "nowhere.json"), 3, "No such file"),
    ],
)
def test_wrong_requests_and_data_have_their_exit_codes(coco, tmp_path, arguments, code, text):
    done = run("prepare", "--coco-root", coco.path, "--out", tmp_path / "d", *arguments)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "d").exists()


def test_synth_then_prepare_then_check(tmp_path):
    assert run("synth", "--out", tmp_path / "s", "--images", 3, "--imgsz", 64, "--seed", 7).returncode == 0
    assert run("prepare", "--coco-root", tmp_path / "s", "--out", tmp_path / "d").returncode == 0
    done = run("check", tmp_path / "d", "--json")
    assert (done.returncode, json.loads(done.stdout)["faults"]) == (0, [])


def test_help_shows_examples():
    assert "qat-data prepare --data my.yaml" in run("prepare", "--help").stdout


def test_no_torch_is_loaded():
    code = "import sys, qat_data, qat_data.cli; print([m for m in ('torch', 'ultralytics') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
