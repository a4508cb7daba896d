"""Checking prepared folders and sources, and the commands with their exit codes."""

import json
import re
import subprocess
import sys

import pytest

from qat_data import CocoLayout, DataError, Request, check_any, prepare, read_coco
from qat_data.records import Annotations

from .conftest import make_images


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


def _encoding(folder, coco):
    (folder / "labels" / "train" / "000003.txt").write_bytes(b"\xe9\n")


def _list_encoding(folder, coco):
    (folder / "train.txt").write_bytes(b"\xe9\n")


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
        (_encoding, r"000003\.txt: no text in UTF-8"),
        (_list_encoding, r"train\.txt: does not list the images"),
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


@pytest.mark.parametrize("label", [b"nan 0.5 0.5 0.5 0.5\n", b"\xe9\n"])
def test_a_bad_label_file_ends_both_commands_with_one_line(tmp_path, label):
    make_images(tmp_path / "images", ["a.jpg"])
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_bytes(label)
    data = tmp_path / "my.yaml"
    data.write_text("train: images\nval: images\nnames: [a, b]\n")
    for arguments in (("prepare", "--data", data, "--out", tmp_path / "d"), ("check", data)):
        done = run(*arguments)
        assert done.returncode == 3, done.stderr
        assert done.stderr.startswith("error: ")
        assert "a.txt:1: " in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_folder_in_the_coco_root_is_a_wrong_request(coco):
    done = run("prepare", "--coco-root", coco.path, "--out", coco.path / "out")
    assert (done.returncode, "which is only read" in done.stderr) == (2, True), done.stderr
    assert not (coco.path / "out").exists()


def test_synth_then_prepare_then_check(tmp_path):
    drawn = run("synth", "--out", tmp_path / "s", "--images", 3, "--imgsz", 64, "--seed", 7, "--json")
    assert (drawn.returncode, json.loads(drawn.stdout)) == (
        0,
        {"coco_root": str(tmp_path / "s"), "train_images": 3, "val_images": 1, "seed": 7, "imgsz": 64},
    )
    assert run("prepare", "--coco-root", tmp_path / "s", "--out", tmp_path / "d").returncode == 0
    done = run("check", tmp_path / "d", "--json")
    assert (done.returncode, json.loads(done.stdout)["faults"]) == (0, [])


@pytest.mark.parametrize(
    ("command", "examples"),
    [
        (
            "prepare",
            [
                "  Examples:",
                "    qat-data prepare --coco-root coco --out data --train-images 2048 --val-images 256",
                "    qat-data prepare --data my.yaml --out data",
                "    qat-data prepare --coco-root coco --out labels --labels-only",
            ],
        ),
        ("check", ["  Examples:", "    qat-data check runs/ladder/data/0123456789ab", "    qat-data check coco"]),
        (
            "evaluate",
            [
                "  Examples:",
                "    qat-data evaluate --dataset data --detections detections.json --out coco_eval.json",
                "    qat-data evaluate --annotations instances_val2017.json --detections detections.json",
            ],
        ),
        (
            "synth",
            [
                "  Examples:",
                "    qat-data synth --out shapes --images 192 --seed 0",
                "    qat-data synth --out large --images 118287 --val-images 5000 --annotations-only",
            ],
        ),
    ],
)
def test_help_shows_one_example_a_line(command, examples):
    lines = run(command, "--help").stdout.splitlines()
    assert lines[-len(examples) :] == examples
    assert not [line for line in lines if "\\b" in line]


def test_no_torch_is_loaded():
    use = "import sys, qat_data, qat_data.cli; [getattr(qat_data, name) for name in qat_data.__all__]"
    code = f"{use}; print([m for m in ('torch', 'ultralytics') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_help_loads_no_numbers_no_images_and_no_evaluator():
    heavy = "('numpy', 'PIL', 'pycocotools', 'yaml', 'msgspec')"
    code = f"import sys, qat_data.cli; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_public_names_are_functions_where_a_module_has_the_same_name():
    code = (
        "import qat_data.prepare; from qat_data import evaluate, prepare; print(callable(evaluate), callable(prepare))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_a_file_of_the_prepared_folder_has_a_name_that_a_file_system_takes():
    given = {"sha256": "ab" * 32, "objects": 0, "crowds": 0}
    assert Annotations(file="é" * 127, **given).file == "é" * 127
    with pytest.raises(ValueError, match=r"^file 'é+' is no file in the folder of dataset\.json$"):
        Annotations(file="é" * 128, **given)
