"""`qat-train pace`: what a run costs here, from a few of its own steps."""

import subprocess
import sys

import attrs
import pytest
from click.testing import CliRunner

import qat_artifacts
from qat_train.cli import cli
from qat_train.pace import WARM_UP, Pace, describe, measure
from qat_train.trainer import QatTrainer


@pytest.fixture
def steps_taken(monkeypatch):
    """Optimizer steps of the trainers of a test."""
    taken = []
    original = QatTrainer.optimizer_step
    monkeypatch.setattr(QatTrainer, "optimizer_step", lambda self: (taken.append(self.epoch), original(self)))
    return taken


def test_as_many_steps_as_asked_for_over_as_many_epochs_as_they_need(make_spec, steps_taken, tmp_path):
    spec = make_spec(training={"epochs": 1, "batch": 4, "threads": 1})
    pace = measure(spec, steps=3, threads=1)
    batches = -(-pace.train_images // 4)
    assert len(steps_taken) == WARM_UP + 3
    assert steps_taken == [step // batches for step in range(WARM_UP + 3)]
    assert (pace.steps, pace.batch, pace.imgsz, pace.series, pace.device_kind) == (3, 4, 64, 2, "cpu")
    assert pace.peak_bytes is None
    expected = batches * pace.step_seconds + 2 * pace.val_images * pace.image_seconds
    assert pace.epoch_seconds == pytest.approx(expected)
    assert "median of 3" in describe(pace)
    with pytest.raises(ValueError, match="step_seconds"):
        attrs.evolve(pace, step_seconds=0.0)


def test_a_run_after_a_measurement_gives_the_same_numbers(make_spec, train, tmp_path):
    spec = make_spec(training={"epochs": 1})
    before = train(spec, "before")[1]
    measure(spec, steps=1, threads=1)
    after = train(spec, "after")[1]
    lines = [(folder / "metrics.jsonl").read_text() for folder in (before, after)]
    points = [qat_artifacts.loads(text)["raw"]["weights_sha256"] for text in lines]
    assert points[0] == points[1]


def test_the_command_writes_the_record_that_it_prints_and_refuses_no_steps(make_spec, tmp_path, monkeypatch):
    done = subprocess.run(
        [sys.executable, "-m", "qat_train", "pace", "--spec", tmp_path / "none.toml", "--out", tmp_path / "p.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "none.toml" in done.stderr
    wrong = CliRunner().invoke(cli, ["pace", "--spec", "x", "--out", "y", "--steps", "0"])
    assert wrong.exit_code == 2
    assert "--steps" in wrong.output
    pace = measure(make_spec(), steps=1, threads=1)
    qat_artifacts.write(tmp_path / "pace.json", pace)
    assert qat_artifacts.read(tmp_path / "pace.json", Pace) == pace
