"""A whole correction, its record, and the command."""

import doctest
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import torch

import qat_artifacts
import qat_qc
from qat_qc import CorrectionError, CorrectionRecord, TaskError, correct, load_task
from qat_qc.cli import FAILURES, cli

from .conftest import ToyTask


def test_the_record_says_what_was_done_and_reads_back(tmp_path):
    task = ToyTask()
    (tmp_path / "run.json").write_text("{}")
    record = correct(task, tmp_path / "qc", weights="ema", seed=1, inputs=(tmp_path / "run.json",))
    assert record == qat_artifacts.read(tmp_path / "qc" / "qc.json", CorrectionRecord)
    assert (record.images, record.steps, record.epochs, record.bn_stats_fixed) == (12, 3, 1, True)
    assert [(layer.name, layer.form) for layer in record.layers] == [
        ("conv1", "batch-norm"),
        ("conv2", "batch-norm"),
        ("conv3", "bias"),
    ]
    assert record.folding.codes_changed == 0
    assert (record.stages, record.trained, record.batch_norms) == (("qc",), ("gamma", "beta"), 0)
    assert record.after.map50_95 == task.evaluate()["map50_95"]
    header = qat_artifacts.read_header(tmp_path / "qc" / "qc.json")
    assert [ref.path for ref in header.inputs] == ["../run.json", "checkpoint.json"]


def test_a_layer_under_one_scale_without_a_norm_is_skipped_and_named(tmp_path):
    record = correct(ToyTask(per_channel=False), tmp_path, weights="raw")
    assert [layer.name for layer in record.layers] == ["conv1", "conv2"]
    (skipped,) = record.skipped
    assert (skipped.stage, skipped.name) == ("qc", "conv3")
    assert skipped.reason == "no batch norm, and one scale for the whole tensor"


def test_fresh_statistics_alone_train_nothing(tmp_path):
    task = ToyTask()
    weights = {k: v.clone() for k, v in task.model.state_dict().items() if "running" not in k and "num_" not in k}
    record = correct(task, tmp_path, weights="raw", stages=("bn",), seed=5)
    assert record == qat_artifacts.read(tmp_path / "qc.json", CorrectionRecord)
    assert (record.stages, record.trained, record.batch_norms, record.bn_stats_fixed) == (("bn",), (), 2, False)
    assert (record.epochs, record.lr, record.optimizer, record.loss, record.folding) == (None,) * 5
    assert (record.steps, record.layers, record.images) == (0, (), 12)
    assert [(s.stage, s.name, s.reason) for s in record.skipped] == [("bn", "conv3", "no batch norm")]
    assert sorted(task.visits) == list(range(12))
    assert all(torch.equal(task.model.state_dict()[k], v) for k, v in weights.items())
    means = torch.stack([task.model.conv1(b["img"]).mean((0, 2, 3)) for b, _ in task.training_batches(5)]).mean(0)
    assert torch.allclose(task.model.bn1.running_mean, means, atol=1e-6)


def test_statistics_are_fresh_before_corrections_are_trained_on_them(tmp_path):
    both, alone = ToyTask(), ToyTask()
    record = correct(both, tmp_path / "both", weights="ema", stages=("qc", "bn"))
    correct(alone, tmp_path / "alone", weights="ema", stages=("bn",))
    assert (record.stages, record.trained, record.batch_norms, record.steps) == (("bn", "qc"), ("gamma", "beta"), 2, 3)
    assert torch.equal(both.model.bn1.running_mean, alone.model.bn1.running_mean)
    assert not torch.equal(both.model.bn1.bias, alone.model.bn1.bias)
    assert [layer.name for layer in record.layers] == ["conv1", "conv2", "conv3"]
    assert both.visits[:12] != sorted(both.visits[:12])
    assert sorted(both.visits[12:24]) == list(range(12))


@pytest.mark.parametrize(("train", "low", "high", "beta"), [("gamma", 0.999, 1.001, 0.0), ("beta", 1.0, 1.0, 1e-3)])
def test_what_is_not_trained_stays_at_the_identity_to_the_bit(tmp_path, train, low, high, beta):
    record = correct(ToyTask(), tmp_path, weights="ema", parameters=(train,))
    assert record.trained == (train,)
    for layer in record.layers:
        assert low <= layer.gamma_min <= layer.gamma_max <= high
        assert layer.beta_abs_max <= beta
        assert (layer.beta_abs_max > 0) == (train == "beta")
        assert (layer.gamma_max > layer.gamma_min) == (train == "gamma")


@pytest.mark.parametrize("stages", [("bn",), ("qc",)])
@pytest.mark.parametrize(
    ("fault", "text"),
    [("twice", r"\d+\.jpg comes a second time in one epoch"), ("lost", "visited 8 images, .* has 12")],
)
def test_every_stage_visits_each_image_once(tmp_path, monkeypatch, stages, fault, text):
    task = ToyTask()
    whole = task.batches

    def batches(seed):
        found = list(whole(seed))
        return [*found, found[0]] if fault == "twice" else found[:2]

    before = {k: v.clone() for k, v in task.model.state_dict().items()}
    monkeypatch.setattr(task, "batches", batches)
    with pytest.raises(CorrectionError, match=text):
        correct(task, tmp_path, weights="ema", stages=stages)
    assert all(torch.equal(task.model.state_dict()[k], v) for k, v in before.items())
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_correct_or_to_reestimate_is_said(tmp_path, monkeypatch):
    task = ToyTask()
    monkeypatch.setattr(task, "layers", lambda: ())
    with pytest.raises(CorrectionError, match="no quantized layer that a correction can be folded into"):
        correct(task, tmp_path, weights="ema")
    task = ToyTask()
    task.model.bn1, task.model.bn2 = torch.nn.Identity(), torch.nn.Identity()
    with pytest.raises(CorrectionError, match="no batch norm to re-estimate; leave out stage bn"):
        correct(task, tmp_path, weights="ema", stages=("bn", "qc"))
    with pytest.raises(ValueError, match=r"stages must be bn, qc or both, found \(\)"):
        correct(task, tmp_path, weights="ema", stages=())


def test_a_record_that_contradicts_its_stages_cannot_be_made(tmp_path):
    both = correct(ToyTask(), tmp_path, weights="ema", stages=("bn", "qc"))
    with pytest.raises(ValueError, match="folding is missing, though stages are bn, qc"):
        attrs.evolve(both, folding=None)
    with pytest.raises(ValueError, match="trained is set, though stages are bn"):
        attrs.evolve(both, stages=("bn",))
    with pytest.raises(ValueError, match="2 batch norms re-estimated"):
        attrs.evolve(both, stages=("qc",))
    with pytest.raises(ValueError, match="stages must hold some of bn, qc, once and in that order"):
        attrs.evolve(both, stages=("qc", "bn"))
    alone = correct(ToyTask(), tmp_path, weights="ema", stages=("bn",))
    with pytest.raises(ValueError, match="skipped names a layer of stage qc, which did not run"):
        attrs.evolve(alone, skipped=(attrs.evolve(alone.skipped[0], stage="qc"),))


def test_an_unknown_task_names_the_installed_ones(tmp_path):
    with pytest.raises(TaskError, match=r"no task 'nobody' under the entry point group qat_qc\.tasks"):
        load_task(tmp_path, "ema", task="nobody")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "qat_qc", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_wrong_flags_exit_2_and_an_unknown_task_7(tmp_path):
    assert run("run", "--run", tmp_path / "nowhere", "--out", tmp_path).returncode == 2
    assert run("run", "--run", tmp_path, "--out", tmp_path / "o", "--lr", "0").returncode == 2
    done = run("run", "--run", tmp_path, "--out", tmp_path / "o", "--task", "nobody")
    assert (done.returncode, "choose with --task" in done.stderr) == (7, True)
    assert not (tmp_path / "o").exists()


@pytest.fixture
def toy_command(monkeypatch, tmp_path):
    """`qat-qc run` on the toy task, in this process; returns the exit code."""
    from qat_qc import running

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")

    def call(*arguments, task=None):
        monkeypatch.setattr(running, "load_task", lambda *_, **__: task or ToyTask())
        command = ["run", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "out"), *arguments]
        return qat_artifacts.run_command(lambda: cli.main(command, standalone_mode=False), FAILURES)

    return call


@pytest.mark.parametrize(
    ("arguments", "stages", "trained"),
    [
        ((), ("qc",), ("gamma", "beta")),
        (("--stages", "bn"), ("bn",), ()),
        (("--stages", "bn,qc", "--train", "beta"), ("bn", "qc"), ("beta",)),
        (("--train", "gamma"), ("qc",), ("gamma",)),
    ],
)
def test_the_command_runs_the_stages_it_is_told(toy_command, tmp_path, capsys, arguments, stages, trained):
    assert toy_command(*arguments) == 0
    record = qat_artifacts.read(tmp_path / "out" / "qc.json", CorrectionRecord)
    assert (record.stages, record.trained) == (stages, trained)
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out" / "qc.json")


def test_a_correction_that_fails_exits_6(toy_command, tmp_path, capsys, monkeypatch):
    task = ToyTask()
    monkeypatch.setattr(task, "loss", lambda batch: torch.tensor(float("inf")))
    assert toy_command(task=task) == 6
    assert "error: the loss became inf after 0 steps; lower --lr" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--stages", "qc,bn"), "Invalid value for '--stages': expected bn | qc | bn,qc, found 'qc,bn'"),
        (("--stages", ""), "expected bn | qc | bn,qc, found ''"),
        (("--stages", "qc,qc"), "expected bn | qc | bn,qc, found 'qc,qc'"),
        (("--train", "delta"), "Invalid value for '--train': expected gamma | beta | gamma,beta, found 'delta'"),
        (("--epochs", "0"), "Invalid value for '--epochs'"),
    ],
)
def test_wrong_stages_and_parameters_exit_2(toy_command, tmp_path, capsys, arguments, text):
    assert toy_command(*arguments) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_needs_no_torch():
    code = "import sys, qat_qc.cli; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    shown = run("run", "--help").stdout
    for text in (
        "  qat-qc run --run runs/n-seed0 --out runs/n-seed0/qc\n",
        "--stages bn,qc --train beta\n",
        "qc|bn|bn,qc",
    ):
        assert text in shown


def test_readme_examples_run():
    result = doctest.testfile(str(Path(__file__).parents[1] / "README.md"), module_relative=False)
    assert result.attempted >= 5
    assert result.failed == 0


def test_public_names_are_sorted_and_exist():
    assert qat_qc.__all__ == sorted(qat_qc.__all__)
    assert all(hasattr(qat_qc, name) for name in qat_qc.__all__)


def test_progress_comes_once_a_tenth_with_the_time_left(caplog):
    from qat_qc.cli import _Reporter
    from qat_qc.training import Progress

    reporter = _Reporter(2)
    with caplog.at_level("INFO"):
        for epoch in (1, 2):
            for seen in range(4, 101, 4):
                seconds = ((epoch - 1) * 100 + seen) * 0.5
                reporter(Progress(epoch=epoch, images_seen=seen, images=100, loss=1.0, seconds=seconds))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 22
    assert lines[-1] == "correction: 100 of 100 images, loss 1.0000, about 0 s left"
    assert "about 50 s left" in lines[10]
