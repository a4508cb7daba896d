"""A whole correction, its record, and the command."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import qat_artifacts
import qat_qc
from qat_qc import CorrectionRecord, TaskError, correct, load_task

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
    assert record.after.map50_95 == task.evaluate()["map50_95"]
    header = qat_artifacts.read_header(tmp_path / "qc" / "qc.json")
    assert [ref.path for ref in header.inputs] == ["../run.json", "checkpoint.json"]


def test_a_layer_under_one_scale_without_a_norm_is_skipped_and_named(tmp_path):
    record = correct(ToyTask(per_channel=False), tmp_path, weights="raw")
    assert [layer.name for layer in record.layers] == ["conv1", "conv2"]
    (skipped,) = record.skipped
    assert (skipped.name, skipped.reason) == ("conv3", "no batch norm, and one scale for the whole tensor")


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


def test_help_needs_no_torch():
    code = "import sys, qat_qc.cli; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    assert "Example: qat-qc run" in run("run", "--help").stdout


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
