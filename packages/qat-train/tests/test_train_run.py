"""Whole runs of yolov10n at 64 px on eight drawn images: what a result rests on."""

import json
import random

import numpy as np
import pytest
import torch

import qat_artifacts
from qat_train.averaging import build_ema
from qat_train.checkpoint import load_checkpoint
from qat_train.errors import Diverged, InputError, SpecError, TrainError
from qat_train.evaluator import Evaluator, hash_weights
from qat_train.insertion import OffGrid, active_quantizers, assert_on_grid
from qat_train.metrics import read_metrics
from qat_train.preparation import prepare
from qat_train.run import Files, Run
from qat_train.trainer import QatTrainer


def series(folder, name):
    """(mAP, hash) of a series by epoch."""
    return [(getattr(r, name).map50_95, getattr(r, name).weights_sha256) for r in read_metrics(folder)]


def test_shared_trajectory_equals_separate_runs_bit_for_bit(make_spec, train, monkeypatch):
    _, shared = train(make_spec(), "shared")
    _, ema_only = train(make_spec(run={"series": ("ema",)}), "ema")
    built = []
    monkeypatch.setattr("qat_train.trainer.build_ema", lambda *a: built.append(a) or build_ema(*a))
    baseline, raw_only = train(make_spec(run={"series": ("raw",)}, ema={"enabled": False}), "baseline")
    assert built == []
    assert not baseline.ema.enabled
    assert series(raw_only, "raw") == series(shared, "raw")
    assert series(ema_only, "ema") == series(shared, "ema")
    assert [r.ema for r in read_metrics(raw_only)] == [None, None]


def test_same_command_twice_gives_the_same_numbers(make_spec, train):
    folders = [train(make_spec(), name)[1] for name in ("first", "second")]
    assert series(folders[0], "raw") == series(folders[1], "raw")
    assert series(folders[0], "ema") == series(folders[1], "ema")
    assert [r.loss for r in read_metrics(folders[0])] == [r.loss for r in read_metrics(folders[1])]


def test_another_seed_gives_other_weights(make_spec, train):
    _, first = train(make_spec(), "zero")
    _, second = train(make_spec(run={"seed": 1}), "one")
    assert series(first, "raw")[-1][1] != series(second, "raw")[-1][1]


def test_record_and_checkpoint_hold_what_was_evaluated(make_spec, train):
    run, folder = train(make_spec())
    last = read_metrics(folder)[-1]
    assert qat_artifacts.read(folder / "run.json", Run) == run
    assert (run.status, run.quantization.mode, run.evaluation.head) == ("completed", "w4a16", "one2one")
    assert run.quantization.quantized_layers == 106
    assert (run.ema.steps, run.ema.window_steps) == (4, pytest.approx(2.0))
    for name in ("raw", "ema"):
        model, checkpoint = load_checkpoint(folder / "checkpoint/checkpoint.json", name)
        assert hash_weights(model) == getattr(last, name).weights_sha256 == checkpoint.weights_sha256[name]
        assert_on_grid(model, 106)
    assert last.raw.weights_sha256 != last.ema.weights_sha256
    assert not (folder / "state").exists()


def test_run_that_is_cut_off_continues_bit_for_bit(make_spec, train, train_cut_off):
    spec = make_spec(training={"epochs": 4, "mosaic": 1.0, "close_mosaic": 1})
    _, whole = train(spec, "whole")
    run, resumed = train_cut_off(spec, after=2)
    assert series(resumed, "raw") == series(whole, "raw")
    assert series(resumed, "ema") == series(whole, "ema")
    assert [r.epoch for r in read_metrics(resumed)] == [1, 2, 3, 4]
    assert [event.kind for event in run.events] == ["resumed"]


def test_finished_run_is_not_trained_again(make_spec, train):
    run, folder = train(make_spec())
    before = (folder / "run.json").stat().st_mtime_ns
    again, _ = train(make_spec())
    assert again == run
    assert (folder / "run.json").stat().st_mtime_ns == before


def test_folder_of_another_specification_is_refused(make_spec, train):
    _, folder = train(make_spec())
    with pytest.raises(SpecError) as caught:
        train(make_spec(training={"lr0": 2e-3}))
    assert str(caught.value) == (
        f"{folder} holds a run of another specification; give another folder, or --resume never to start over"
    )


def test_resume_must_fails_where_there_is_nothing(make_spec, train, tmp_path):
    with pytest.raises(SpecError, match="nothing to resume; use --resume auto to start"):
        train(make_spec(), resume="must")


def poison(monkeypatch, *, epoch, times):
    """Set one weight to NaN at the end of an epoch, the first `times` times it is reached."""
    original = QatTrainer.optimizer_step
    left = [times]

    def step(self):
        original(self)
        if self.epoch == epoch and left[0]:
            left[0] -= 1
            with torch.no_grad():
                self.model.model[1].conv.weight[0, 0, 0, 0] = float("nan")

    monkeypatch.setattr(QatTrainer, "optimizer_step", step)


def test_nan_is_rolled_back_and_counted(make_spec, train, monkeypatch):
    poison(monkeypatch, epoch=1, times=1)
    run, folder = train(make_spec())
    kinds = [event.kind for event in run.events]
    assert kinds[-1] == "rollback"
    assert set(kinds) <= {"nan-loss", "nan-weights", "rollback"}
    assert [r.epoch for r in read_metrics(folder)] == [1, 2]
    assert [event.epoch for event in read_metrics(folder)[1].events] == [2] * len(kinds)


def test_nan_in_the_first_epoch_is_rolled_back_too(make_spec, train, monkeypatch):
    poison(monkeypatch, epoch=0, times=1)
    run, _ = train(make_spec())
    assert "rollback" in [event.kind for event in run.events]


def test_lasting_nan_is_a_divergence_on_record(make_spec, train, monkeypatch, tmp_path):
    poison(monkeypatch, epoch=1, times=1000)
    with pytest.raises(Diverged, match=r"epoch 2: nan-.* after 3 rollbacks"):
        train(make_spec())
    run = qat_artifacts.read(tmp_path / "run" / "run.json", Run)
    records = read_metrics(tmp_path / "run")
    assert (run.status, run.files.checkpoint) == ("completed", None)
    assert [event.kind for event in run.events].count("rollback") == 3
    assert (records[-1].epoch, records[-1].raw, records[-1].ema) == (2, None, None)
    with pytest.raises(Diverged, match=r"epoch 2: nan-.* after 3 rollbacks"):
        train(make_spec())  # nothing to train, and no success


def test_weights_that_leave_the_grid_in_training_are_a_fault_of_this_run_alone(make_spec, train, monkeypatch, tmp_path):
    evaluate = Evaluator.__call__

    def off_grid(self, model, **given):
        if given["quantized_layers"] and model.training:  # references are measured before the training
            raise OffGrid("model.1.conv: the weight in use is off the 4-bit grid")
        return evaluate(self, model, **given)

    monkeypatch.setattr(Evaluator, "__call__", off_grid)
    with pytest.raises(TrainError, match=r"model\.1\.conv: .* off the 4-bit grid") as caught:
        train(make_spec())
    assert not isinstance(caught.value, InputError)  # exit 1: a ladder goes on with its other cells
    assert qat_artifacts.read(tmp_path / "run" / "run.json", Run).status == "failed"


def test_a_failure_at_a_file_whose_name_is_no_utf_8_is_on_record(make_spec, train, monkeypatch, tmp_path):
    def gone(*_, **__):
        raise TrainError("image\udcff.jpg: cannot be read")

    monkeypatch.setattr(Evaluator, "__call__", gone)
    with pytest.raises(TrainError, match=r"^image.\.jpg: cannot be read$"):
        train(make_spec())
    run = qat_artifacts.read(tmp_path / "run" / "run.json", Run)
    assert (run.status, run.error) == ("failed", "image\ufffd.jpg: cannot be read")


def test_a_file_of_a_run_has_a_name_that_a_file_system_takes():
    assert Files(metrics="é" * 127).metrics == "é" * 127
    with pytest.raises(ValueError, match=r"^metrics 'é+' is nothing in the folder of the file that names it$"):
        Files(metrics="é" * 128)


@pytest.fixture
def quantized(make_spec, tmp_path):
    prepared = prepare(make_spec(), folder=tmp_path / "u", threads=1)
    prepared.quantize(prepared.model)
    return prepared


def generator_states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_evaluation_changes_neither_weights_nor_modes_nor_generators(quantized):
    model = quantized.model.train()
    model.model[3].eval()
    before = (hash_weights(model), [m.training for m in model.modules()], generator_states())
    first = quantized.evaluator(model, quantized_layers=106)
    assert (hash_weights(model), [m.training for m in model.modules()], generator_states()) == before
    assert first.weights_sha256 == before[0]
    second = quantized.evaluator(model, quantized_layers=106)
    assert (first.map50_95, first.map50) == (second.map50_95, second.map50)


def test_model_trains_after_an_evaluation(quantized):
    quantized.evaluator(quantized.model, quantized_layers=106)
    quantized.model.train()
    output = quantized.model(torch.rand(2, 3, 64, 64))
    output["one2one"]["scores"].sum().backward()


def test_switched_off_quantizer_is_caught_before_evaluation(quantized):
    next(active_quantizers(quantized.model))[2].disable()
    with pytest.raises(OffGrid, match=r"^105 quantizers are active, the policy has 106; was the model fused"):
        quantized.evaluator(quantized.model, quantized_layers=106)


def test_fused_model_is_caught_before_evaluation(quantized):
    for module in quantized.model.modules():
        if hasattr(module, "bn") and hasattr(module, "conv"):
            module.conv = torch.nn.Conv2d(1, 1, 1)  # what a fuse that builds fresh convolutions leaves behind
            break
    with pytest.raises(OffGrid):
        quantized.evaluator(quantized.model, quantized_layers=106)


def test_quantizer_that_returns_other_weights_is_caught(quantized, monkeypatch):
    monkeypatch.setitem(
        __import__(
            "modelopt.torch.quantization.nn.modules.tensor_quantizer", fromlist=["x"]
        )._QUANT_FUNCTIONAL_BACKENDS,
        "qat-train",
        lambda inputs, quantizer: inputs,
    )
    with pytest.raises(OffGrid, match="the weight in use is off the"):
        quantized.evaluator(quantized.model, quantized_layers=106)


def test_evaluated_head_is_one2one(quantized, monkeypatch):
    """With the one2one branch silenced the detections vanish; the one2many branch does not matter."""
    head = quantized.model.model[-1]
    seen = []
    original = type(head)._inference
    monkeypatch.setattr(type(head), "_inference", lambda self, x: seen.append(x["scores"].clone()) or original(self, x))
    quantized.evaluator(quantized.model, quantized_layers=106)
    with torch.no_grad():
        batch = next(iter(quantized.evaluator._validator.dataloader))["img"].float() / 255
        quantized.model.eval()
        expected = quantized.model(batch)[1]["one2one"]["scores"]
    assert torch.allclose(seen[0], expected)


def test_unfinished_run_cannot_be_corrected(make_spec, tmp_path):
    from qat_train.correction_task import load

    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(qat_artifacts.NotAnArtifact):
        load(folder, "ema")


def test_correction_task_offers_every_training_image_once(make_spec, train, dataset):
    from qat_train.correction_task import load

    _, folder = train(make_spec())
    task = load(folder, "ema")
    seen = [name for _, names in task.batches(seed=3) for name in names]
    assert len(seen) == len(set(seen)) == task.images == 8
    assert [n for _, names in task.batches(seed=3) for n in names] == seen
    augmented = list(task.training_batches(seed=3))
    assert sorted(n for _, names in augmented for n in names) == sorted(seen)
    again, plain = list(task.training_batches(seed=3)), list(task.batches(seed=3))
    for one, two, flat in zip(augmented, again, plain, strict=True):
        assert torch.equal(one[0]["img"], two[0]["img"])
        assert one[0]["img"].shape == flat[0]["img"].shape
        assert not torch.equal(one[0]["img"], flat[0]["img"])
    (folder / "ultralytics" / "args.yaml").unlink()
    with pytest.raises(InputError, match=r"args\.yaml is missing: it says how the training augmented"):
        next(task.training_batches(seed=3))
    layers = task.layers()
    assert len(layers) == 106
    assert {layer.name for layer in layers if layer.batch_norm is None} == {
        layer.name for layer in layers if ".2" in layer.name[-2:] or layer.name == "model.22.m.0.cv1.2.conv"
    }
    batch, _ = next(task.batches(seed=0))
    loss = task.loss(batch)
    assert loss.ndim == 0
    assert (task.model.criterion.o2m, task.model.criterion.o2o) == (pytest.approx(0.1), pytest.approx(0.9))
    point = task.evaluate()
    assert point["weights_sha256"] == read_metrics(folder)[-1].ema.weights_sha256 or point["map50_95"] >= 0
    path = task.save(folder / "qc")
    back, record = load_checkpoint(path, "corrected")
    assert record.kind == "corrected"
    assert hash_weights(back) == record.weights_sha256["corrected"]
    with pytest.raises(InputError, match="holds the series corrected, not 'ema'"):
        load_checkpoint(path, "ema")


def test_evaluator_reports_an_unreadable_data_set(tmp_path):
    (tmp_path / "data.yaml").write_text("train: none.txt\nval: none.txt\nnames: {0: a}\n")
    with pytest.raises(InputError, match=r"data\.yaml"):
        Evaluator(tmp_path / "data.yaml", imgsz=64, batch=2, device=torch.device("cpu"), folder=tmp_path)


def test_no_tracker_that_happens_to_be_installed_is_logged_to(make_spec, dataset, tmp_path, monkeypatch):
    from qat_train.arguments import training_arguments
    from qat_train.trainer import QatTrainer

    def integrate(_):
        raise AssertionError("Ultralytics was about to log elsewhere")

    monkeypatch.setattr("ultralytics.utils.callbacks.add_integration_callbacks", integrate)
    yaml, device = dataset.parent / "data.yaml", torch.device("cpu")
    QatTrainer(training_arguments(make_spec(), data_yaml=yaml, folder=tmp_path / "u", device=device))


def test_a_run_cut_off_after_its_last_epoch_trains_no_further_one(make_spec, train, monkeypatch):
    spec = make_spec()
    whole, folder = train(spec, "whole")

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("qat_train.runner._save_final", cut)
        with pytest.raises(KeyboardInterrupt):
            train(spec, "cut")
    reported = []
    again, other = train(spec, "cut", report=lambda record, epochs: reported.append(record))
    assert reported == []
    assert (again.status, again.events) == (whole.status, whole.events)
    assert again.ema == whole.ema
    assert again.seconds > 0
    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (folder, other)]
    assert [line["epoch"] for line in lines[1]] == [1, 2]
    assert [line["raw"]["weights_sha256"] for line in lines[0]] == [line["raw"]["weights_sha256"] for line in lines[1]]
    hashes = [json.loads((run / "checkpoint/checkpoint.json").read_text()) for run in (folder, other)]
    assert hashes[0]["weights_sha256"] == hashes[1]["weights_sha256"]
    assert hashes[0]["epoch"] == hashes[1]["epoch"]
