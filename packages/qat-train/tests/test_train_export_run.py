"""The export of a run: files, proof and record; which weights a method stands for; what is refused."""

import json
import shutil

import attrs
import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import qat_artifacts
from qat_artifacts import Exit
from qat_train.checkpoint import Checkpoint, load_checkpoint
from qat_train.cli import FAILURES
from qat_train.correction_task import load as open_task
from qat_train.dataset import read_data
from qat_train.detector import set_head
from qat_train.errors import InputError, NotProven, SpecError
from qat_train.evaluator import hash_weights
from qat_train.export.coco_results import read_identifiers
from qat_train.export.detections import ImageDetections
from qat_train.export.exporting import export_run
from qat_train.export.folding import fold_detector
from qat_train.export.graph import checked_bytes
from qat_train.export.latency import measure_latency
from qat_train.export.packed import read_packed
from qat_train.export.parity import stored_weights
from qat_train.export.pictures import write_pictures
from qat_train.export.record import Export, Pictures, describe
from qat_train.export.source import find_source
from qat_train.export.verifying import verify_export
from qat_train.metrics import read_metrics
from qat_train.run import Run

from .conftest import IDS, THREADS, export_apart
from .exported import command
from .exported import describe as describe_network

DETECTIONS = ("detections.json", "detections-torch.json")


def run_export(run, out, **changes):
    options = {"method": "ema", "series": None, "qc": None, "dataset": None, "benchmark": False, "threads": THREADS}
    return export_run(run, out, **(options | changes))


@pytest.fixture
def copied(exported, tmp_path):
    """A copy of the export to damage."""
    return shutil.copytree(exported[0], tmp_path / "copy")


def test_standard_output_is_the_record_that_lies_beside_the_files(exported):
    out, text = exported
    record = qat_artifacts.read(out / "export.json", Export)
    assert json.loads(text) == qat_artifacts.unstructure(record)
    assert sorted(path.name for path in out.iterdir()) == [
        "detections-torch.json",
        "detections.json",
        "export.json",
        "model.onnx",
        "model.safetensors",
        "pictures.jpg",
    ]
    schemas = {ref.schema for ref in qat_artifacts.read_header(out / "export.json").inputs}
    assert schemas == {"qat-train/run", "qat-train/checkpoint", "qat-data/dataset"}


def test_the_export_is_proven_and_its_numbers_are_those_of_the_run(exported, finished):
    record = qat_artifacts.read(exported[0] / "export.json", Export)
    last = read_metrics(finished)[-1].ema
    assert record.proven
    assert (record.series, record.weights_sha256) == ("ema", last.weights_sha256)
    assert record.accuracy.torch.map50_95 == last.map50_95  # the very evaluator
    assert (record.agreement.images, record.agreement.detections > 50) == (4, True)
    assert (record.dropped_layers, len(record.layers)) == (24, 83)
    assert [layer.name for layer in record.layers if layer.storage == "float32"] == ["model.23.dfl.conv"]
    assert 6 * record.sizes.onnx_int4 <= record.sizes.onnx_fp32
    assert 7 * record.sizes.packed <= record.sizes.onnx_fp32
    assert record.sizes.onnx_int8 < record.sizes.onnx_fp16 < record.sizes.onnx_fp32


def test_detections_have_the_original_ids_and_pixels(exported):
    ours, theirs = (
        json.loads((exported[0] / name).read_text()) for name in ("detections.json", "detections-torch.json")
    )
    assert {row["image_id"] for row in ours} == set(IDS["images"])
    assert {row["category_id"] for row in ours} <= set(IDS["categories"])
    assert len(ours) == len(theirs)
    for row in ours:
        left, top, width, height = row["bbox"]
        assert 0 <= left <= left + width <= 64 + 1e-3
        assert 0 <= top <= top + height <= 64 + 1e-3
        assert 0.001 < row["score"] <= 1


def test_pictures_hold_both_sides_of_the_first_images_with_their_counts(exported):
    out = exported[0]
    record = qat_artifacts.read(out / "export.json", Export)
    pictures = record.pictures
    assert (pictures.file, pictures.images) == ("pictures.jpg", ("0.jpg", "1.jpg", "2.jpg", "3.jpg"))
    assert record.files_sha256["pictures.jpg"] == qat_artifacts.sha256_file(out / "pictures.jpg")
    rows = json.loads((out / "detections.json").read_text())
    shown = [sum(r["image_id"] == i and r["score"] > pictures.confidence for r in rows) for i in IDS["images"]]
    assert list(pictures.int4) == shown
    with Image.open(out / "pictures.jpg") as drawn:
        assert drawn.format == "JPEG"
        assert 600 < drawn.width <= 1200
    assert (out / "pictures.jpg").stat().st_size <= 120_000
    assert (
        f"pictures.jpg: 4 images, {sum(pictures.fp32)} objects in FP32 and {sum(pictures.int4)} in INT4 from 0.25 on"
        in describe(record)
    )


def test_another_call_writes_the_same_model_and_finds_the_same(exported, finished, tmp_path):
    out = tmp_path / "out"
    # As users call it: after other work in one process, a traced graph had three more constants.
    export_apart(finished, out)
    record, first = (qat_artifacts.read(folder / "export.json", Export) for folder in (out, exported[0]))
    for name in (first.files.packed, first.files.onnx):
        assert record.files_sha256[name] == first.files_sha256[name]
    # Not bytes of what was computed from them: sums of a convolution differ in the last bit from process to process.
    ours, theirs = (
        {name: sorted(row["score"] for row in json.loads((folder / name).read_text())) for name in DETECTIONS}
        for folder in (out, exported[0])
    )
    assert {name: len(scores) for name, scores in ours.items()} == {name: len(s) for name, s in theirs.items()}
    for name, scores in ours.items():
        assert scores == pytest.approx(theirs[name], abs=1e-5)
    assert (record.pictures.file, record.pictures.images) == (first.pictures.file, first.pictures.images)


def drawn_by(finished, tmp_path, empty=()):
    """What `write_pictures` makes of a data set in which some images have no object, for an export that finds none."""
    shutil.copytree(finished.parent / "data", tmp_path / "data", ignore=shutil.ignore_patterns("*.cache"))
    for name in empty:
        (tmp_path / "data" / "labels" / "val" / f"{name}.txt").write_text("")
    model, _ = load_checkpoint(finished / "checkpoint" / "checkpoint.json", "ema")
    set_head(model)
    names = [f"{i}.jpg" for i in (2, 0, 3, 1)]
    rows = torch.zeros(1, 6)
    images = [ImageDetections(name=n, shape=(64, 64), ratio_pad=((1, 1), (0, 0)), torch=rows, onnx=rows) for n in names]
    data = tmp_path / "data" / "data.yaml"
    return write_pictures(tmp_path / "p.jpg", model, images, order=names, about=describe_network(model), data_yaml=data)


def test_images_without_objects_are_left_out_and_the_others_keep_their_order(finished, tmp_path):
    found = drawn_by(finished, tmp_path, empty=(0,))
    assert (found.file, found.images, found.int4) == ("p.jpg", ("2.jpg", "3.jpg", "1.jpg"), (0, 0, 0))


def test_a_data_set_without_objects_has_no_pictures(finished, tmp_path):
    with pytest.raises(InputError) as caught:
        drawn_by(finished, tmp_path, empty=range(4))
    assert str(caught.value) == f"{tmp_path}/data/data.yaml: no validation image has an object"


def test_a_starting_checkpoint_that_is_gone_stops_no_export(moved, caplog):
    path = moved / "run" / "run.json"
    run = qat_artifacts.read(path, Run)
    gone = attrs.evolve(run.model, checkpoint=str(moved / "gone.pt"))
    qat_artifacts.write(path, attrs.evolve(run, model=gone))
    out = moved / "out"
    out.mkdir()
    (out / "pictures.jpg").write_text("of an earlier export")
    with caplog.at_level("WARNING"):
        record = run_export(moved / "run", out, dataset=moved / "data")
    assert record.proven
    assert record.pictures is None
    assert not (out / "pictures.jpg").exists()
    assert (
        f"no pictures.jpg: {moved / 'gone.pt'}: the checkpoint that tiny/seed0 started from is gone; put" in caplog.text
    )
    assert "pictures.jpg" not in describe(record)
    assert verify_export(out) == record


def test_pictures_that_were_changed_are_refused(copied):
    (copied / "pictures.jpg").write_bytes(b"other")
    assert refused(copied).startswith("/pictures.jpg: SHA-256 ")


def test_counts_that_are_not_those_of_the_images_are_refused():
    with pytest.raises(ValueError, match=r"^2 images, 1 and 2 counts$"):
        Pictures(file="pictures.jpg", images=("a", "b"), confidence=0.25, fp32=(1,), int4=(1, 2))


def test_weights_off_the_grid_exit_3(moved, capfd):
    folder = moved / "run" / "checkpoint"
    tensors = load_file(folder / "checkpoint.safetensors")
    tensors["ema.model.1.conv.weight"][0, 0, 0, 0] = float("nan")
    save_file(tensors, folder / "checkpoint.safetensors")
    record = qat_artifacts.read(folder / "checkpoint.json", Checkpoint)
    record = attrs.evolve(record, tensors_sha256=qat_artifacts.sha256_file(folder / "checkpoint.safetensors"))
    qat_artifacts.write(folder / "checkpoint.json", record)
    damaged, _ = load_checkpoint(folder / "checkpoint.json", "ema")
    hashes = record.weights_sha256 | {"ema": hash_weights(damaged)}
    qat_artifacts.write(folder / "checkpoint.json", attrs.evolve(record, weights_sha256=hashes))
    options = ["--run", moved / "run", "--method", "ema", "--dataset", moved / "data", "--out", moved / "out"]
    assert command("export", *options) == Exit.INPUT
    assert "error: model.1.conv: the weight in use is off the 4-bit grid\n" in capfd.readouterr().err
    assert not (moved / "out").exists()


def test_exported_files_are_verified_by_each_other(exported, capfd):
    assert command("verify-export", "--export", exported[0]) == Exit.OK
    assert "tiny/seed0, ema (ema weights), w4a16, head one2one" in capfd.readouterr().out


def rehash(folder):
    """Let export.json vouch for whatever lies beside it."""
    path = folder / "export.json"
    content = json.loads(path.read_text())
    content["files_sha256"] = {name: qat_artifacts.sha256_file(folder / name) for name in content["files_sha256"]}
    path.write_text(json.dumps(content))


def refused(folder):
    with pytest.raises(InputError) as caught:
        verify_export(folder)
    return str(caught.value).removeprefix(str(folder))


def test_a_damaged_container_exits_3_with_the_reason(copied, capfd):
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert command("verify-export", "--export", copied) == Exit.INPUT
    assert f"error: {path}: SHA-256 " in capfd.readouterr().err
    rehash(copied)
    assert command("verify-export", "--export", copied) == Exit.INPUT
    assert f"error: {path}: no whole safetensors file: " in capfd.readouterr().err


def test_an_onnx_file_with_one_other_number_is_refused(copied):
    path = copied / "model.onnx"
    model = onnx.load(path)
    codes = next(i for i in model.graph.initializer if i.name == "model.1.conv.codes")
    codes.raw_data = bytes([codes.raw_data[0] ^ 1]) + codes.raw_data[1:]
    path.write_bytes(checked_bytes(model))
    assert refused(copied).startswith("/model.onnx: SHA-256 ")
    rehash(copied)
    assert refused(copied) == "/model.onnx: values of model.1.conv are not those of the packed file"


def test_an_onnx_file_that_is_none_or_invalid_is_refused(copied):
    path = copied / "model.onnx"
    model = onnx.load(path)
    model.graph.node[-1].op_type = "NoSuchOperator"
    for data in (b"\xff\xff not a graph", model.SerializeToString()):
        path.write_bytes(data)
        rehash(copied)
        assert refused(copied).startswith("/model.onnx: no valid ONNX graph: ")
    path.unlink()
    assert refused(copied) == "/model.onnx: missing"


def test_a_packed_file_of_other_weights_is_refused(copied):
    content = json.loads((copied / "export.json").read_text())
    (copied / "export.json").write_text(json.dumps(content | {"weights_sha256": "1" * 64}))
    assert refused(copied).startswith("/model.safetensors: weights ")


def test_an_export_that_is_not_the_trained_model_fails_and_says_how_far_it_is(finished, tmp_path, monkeypatch):
    def shifted(*arguments, **options):
        network = fold_detector(*arguments, **options)
        layer = network.layers[5]
        other = attrs.evolve(layer, bias=layer.bias + np.float32(0.5))
        return attrs.evolve(network, layers=(*network.layers[:5], other, *network.layers[6:]))

    monkeypatch.setattr("qat_train.export.exporting.fold_detector", shifted)
    with pytest.raises(NotProven, match=r"the exported model is not the trained one: boxes, px: differ by "):
        run_export(finished, tmp_path / "out")
    assert not qat_artifacts.read(tmp_path / "out" / "export.json", Export).proven
    assert FAILURES[NotProven] == Exit.CELL_FAILED


def test_a_record_never_vouches_for_files_of_an_export_that_failed(finished, exported, tmp_path, monkeypatch):
    out = shutil.copytree(exported[0], tmp_path / "out")

    def broken(*_arguments, **_options):
        raise InputError("no graph")

    monkeypatch.setattr("qat_train.export.exporting.trace", broken)
    with pytest.raises(InputError, match="no graph"):
        run_export(finished, out, method="baseline")
    assert not (out / "export.json").exists()


@pytest.fixture(scope="module")
def corrected(finished, tmp_path_factory):
    """The folder that a correction of the EMA weights would leave."""
    folder = tmp_path_factory.mktemp("corrected") / "qc"
    checkpoint = open_task(finished, "ema").save(folder)
    body = {"schema": "qat-qc/correction", "version": "1.0", "created_by": "test", "run_id": "tiny/seed0"}
    body |= {"weights": "ema", "stages": ["qc"], "checkpoint": checkpoint.name}
    qat_artifacts.write_text(folder / "qc.json", json.dumps(body))
    return folder


def test_a_method_stands_for_a_series_or_its_correction(finished, corrected):
    def source(method, **given):
        found = find_source(finished, **({"method": method, "series": None, "qc": None} | given))
        return found.series, found.checkpoint

    own = finished / "checkpoint" / "checkpoint.json"
    assert source("baseline") == source("mine") == ("raw", own)
    assert source("ema") == source("learned+ema") == source("mine", series="ema") == ("ema", own)
    for qc in (corrected, corrected / "qc.json"):
        assert source("ema+qc", qc=qc) == ("corrected", corrected / "checkpoint.json")


@pytest.mark.parametrize(
    ("method", "change", "error", "text"),
    [
        ("ema+qc", {"qc": False}, SpecError, "method 'ema+qc' is a correction: give the folder that qat-qc wrote with"),
        ("ema", {}, SpecError, "method 'ema' has no correction; leave --qc out or name a method that has one"),
        ("ema+qc", {"series": "raw"}, SpecError, "method 'ema+qc' reports the averaged weights, not --series raw"),
        ("ema+bn", {}, InputError, "has stages qc, method 'ema+bn' of tiny/seed0 needs bn"),
        ("qc", {}, InputError, "starts from series ema, method 'qc' of tiny/seed0 needs raw"),
        ("ema+qc", {"run_id": "other/seed0"}, InputError, "corrects run other/seed0, method 'ema+qc' of tiny/seed0"),
    ],
)
def test_method_series_and_correction_must_agree(finished, corrected, tmp_path, method, change, error, text):
    content = json.loads((corrected / "qc.json").read_text())
    content["run_id"] = change.get("run_id", content["run_id"])
    (tmp_path / "qc.json").write_text(json.dumps(content))
    qc = None if change.get("qc") is False else tmp_path
    with pytest.raises(error) as caught:
        find_source(finished, method=method, series=change.get("series"), qc=qc)
    assert text in str(caught.value)


def test_an_unfinished_run_is_refused(finished, tmp_path):
    run = qat_artifacts.read(finished / "run.json", Run)
    qat_artifacts.write(tmp_path / "run.json", attrs.evolve(run, status="failed", error="out of memory"))
    with pytest.raises(InputError) as caught:
        find_source(tmp_path, method="ema", series=None, qc=None)
    assert str(caught.value) == (
        f"{tmp_path}: a completed run with a checkpoint is needed, this one is: failed, out of memory"
    )


@pytest.fixture
def moved(finished, tmp_path):
    """A copy of the run and its data set, which the record does not know of."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(finished.parent / "data", tmp_path / "data")
    run = qat_artifacts.read(tmp_path / "run" / "run.json", Run)
    gone = attrs.evolve(run.dataset, dataset_yaml=str(tmp_path / "gone" / "data.yaml"))
    qat_artifacts.write(tmp_path / "run" / "run.json", attrs.evolve(run, dataset=gone))
    return tmp_path


def failure(moved, **options):
    with pytest.raises(InputError) as caught:
        run_export(moved / "run", moved / "out", **options)
    assert not (moved / "out").exists()
    return str(caught.value)


def test_a_data_set_that_is_gone_can_be_named_and_must_be_the_same(moved):
    assert failure(moved) == (
        f"{moved / 'gone'}: the run's data set is gone; give the folder where it lies now with --dataset"
    )
    dataset = moved / "data" / "dataset.json"
    content = json.loads(dataset.read_text())
    dataset.write_text(json.dumps(content | {"fingerprint": "another"}))
    assert failure(moved, dataset=moved / "data") == f"{dataset}: data set another, the run used drawn-8-4-64"


def test_a_list_of_images_that_is_not_that_of_the_data_set_is_refused(moved):
    path = moved / "data" / "val.txt"
    path.write_text("./images/val/0.jpg\n")
    assert failure(moved, dataset=moved / "data") == f"{path}: 1 images, dataset.json lists 4"
    path.unlink()
    assert failure(moved, dataset=moved / "data") == (
        f"{path}: No such file or directory; prepare the data set again: qat-data prepare"
    )


def test_a_yolo_source_without_ids_is_numbered_as_its_annotations_are(moved):
    dataset = moved / "data" / "dataset.json"
    content = json.loads(dataset.read_text()) | {"source": {"format": "yolo"}}
    for entry in content["classes"]:
        del entry["category_id"]
    dataset.write_text(json.dumps(content))
    found = read_identifiers(read_data(str(dataset)))
    assert found.images == {"0.jpg": 1, "1.jpg": 2, "2.jpg": 3, "3.jpg": 4}
    assert found.categories == (1, 2)


def test_weights_that_are_not_those_of_the_record_are_refused(moved):
    path = moved / "run" / "checkpoint" / "checkpoint.json"
    record = qat_artifacts.read(path, Checkpoint)
    qat_artifacts.write(path, attrs.evolve(record, weights_sha256={"raw": "0", "ema": "0"}))
    assert "the weights hash to " in failure(moved, dataset=moved / "data")


def test_missing_packages_exit_7_before_anything_is_read(monkeypatch, tmp_path, capfd):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert command("export", "--run", tmp_path, "--method", "ema", "--out", tmp_path / "out") == Exit.ENVIRONMENT
    assert capfd.readouterr().err == (
        "error: not installed: onnx, onnxruntime; an export needs pip install 'qat-train[export]'\n"
    )


def test_latency_is_of_three_sessions_in_turn(exported):
    data = (exported[0] / "model.onnx").read_bytes()
    found = measure_latency(data, data, imgsz=64, threads=1, calls=1)
    assert (found.imgsz, found.threads, found.calls) == (64, 1, 1)


def test_packed_and_onnx_hold_the_same_numbers(exported):
    stored = stored_weights(onnx.load(exported[0] / "model.onnx"))
    for layer in read_packed(exported[0] / "model.safetensors").layers:
        assert np.array_equal(stored[layer.convolution.name].values, layer.values)
