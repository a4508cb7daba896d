"""Training that is interrupted or goes wrong: what was finished stays, and the same call goes on from it."""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from .coco import tree_hash
from .commands import call, ended, start, until


def lines(out):
    path = out / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def record(out):
    return json.loads((out / "run.json").read_text())


@pytest.mark.fault(
    "B2-4", "SIGTERM in an epoch: exit 143; the last finished epoch is whole, the same call goes on", how="real"
)
@pytest.mark.fault(
    "B2-1",
    "SIGKILL in an epoch: the run never counts as finished; the same call goes on from the last epoch",
    how="real",
)
@pytest.mark.fault(
    "B2-2",
    "SIGKILL while a state is written: its torn files are passed over, the state before counts",
    how="simulated: the files such a kill leaves",
)
@pytest.mark.fault(
    "B2-2", "a state that is not the file its record names: exit 3 and the remedy, nothing is deleted", how="real"
)
@pytest.mark.fault(
    "B2-3", "killed after the end, or called again: nothing is trained a second time, no file changes", how="real"
)
def test_a_run_that_is_cut_off_again_and_again(spec, tmp_path, record_property):
    out = tmp_path / "run"
    command = ("qat-train", "run", "--spec", spec(epochs=4), "--out", out)
    first = start("qat_train", *command[1:])
    until(first, "epoch 1/4")
    first.terminate()
    assert ended(first).code == 143
    begun = lines(out)
    assert len(begun) == 1
    assert record(out)["status"] == "running"

    damaged = tmp_path / "damaged"
    shutil.copytree(out, damaged)
    (state,) = damaged.glob("state/*.safetensors")
    state.write_bytes(state.read_bytes()[:-1])
    before = tree_hash(damaged / "state")
    done = call(*command[:-1], damaged)
    assert (done.code, done.out) == (3, "")
    text = f"error: {state}: missing or not the file that state.json names; remove {damaged}/state to start over\n"
    assert done.err.endswith(text)
    assert lines(damaged) == begun
    assert tree_hash(damaged / "state") == before

    second = start("qat_train", *command[1:])
    until(second, "epoch 2/4")
    second.kill()
    assert ended(second).code == -9
    again = lines(out)
    assert (again[:1], len(again)) == (begun, 2)
    assert record(out)["status"] == "running"
    (out / "state" / "epoch00003-0.safetensors").write_bytes(b"torn")  # written before state.json names it
    (out / "state" / ".state.json.abc.tmp").write_bytes(b'{"sch')

    done = call(*command)
    assert done.code == 0, done.err
    assert lines(out)[:2] == again
    assert [json.loads(line)["epoch"] for line in lines(out)] == [1, 2, 3, 4]
    run = record(out)
    assert run["status"] == "completed"
    assert [e["detail"] for e in run["events"]] == ["continued after epoch 1", "continued after epoch 2"]
    assert not (out / "state").exists()

    before = tree_hash(out)
    done = call(*command)
    assert (done.code, done.out) == (0, f"{out}/run.json\n")
    assert tree_hash(out) == before
    record_property("kills", 1)
    record_property("losses", sum(kept not in lines(out) for kept in [*begun, *again]))


@pytest.mark.fault(
    "B2-17", "NaN forever: three rollbacks, then diverged at its epoch, exit 6, on record as a result", how="real"
)
def test_a_loss_that_no_training_survives(spec, tmp_path):
    out, path = tmp_path / "run", spec()
    path.write_text(f"{path.read_text()}[interventions]\ndampening = 1e39\n")  # no fp32 number
    command = ("qat-train", "run", "--spec", path, "--out", out)
    done = call(*command)
    assert (done.code, done.out) == (6, "")
    assert re.search(r"error: epoch \d: nan-loss after 3 rollbacks\n$", done.err)
    run = record(out)
    assert (run["status"], run["files"]["checkpoint"]) == ("completed", None)
    assert run["error"] in done.err
    assert [e["kind"] for e in run["events"]].count("rollback") == 3
    done = call("qat-report", "summarize", "--run", out, "--method", "baseline", "--out", tmp_path / "out", "--json")
    row = json.loads(done.out)
    assert (row["stability"]["class"], row["status"], row["metrics"]["final_value"]) == (
        "diverged",
        "completed-failed",
        None,
    )
    assert call(*command).code == 6  # nothing is trained again, and it is no success


@pytest.mark.slow
@pytest.mark.fault(
    "B2-7", "a rank of a run on several devices is killed: so is the run, which says whose; it goes on", how="real"
)
def test_a_rank_that_dies(spec, tmp_path, record_property):
    out = tmp_path / "run"
    command = ("run", "--spec", spec(epochs=3, device="cpu,cpu"), "--out", out)
    going = start("qat_train", *command, OMP_NUM_THREADS="1")
    until(going, "epoch 1/3")
    begun = lines(out)
    children = Path(f"/proc/{going.pid}/task/{going.pid}/children").read_text().split()
    (other,) = [int(pid) for pid in children if b"qat_train.companion" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(other, signal.SIGKILL)
    done = ended(going)
    assert done.code == -signal.SIGKILL
    text = "error: rank 1 on device cpu was killed by SIGKILL; the run is whole up to its last epoch\n"
    assert done.err.endswith(text)
    assert "Traceback" not in done.err
    assert (out / ".trainer").read_text() == ""
    again = start("qat_train", *command, "--resume", "must")
    done = ended(again)
    assert done.code == 0, done.err
    assert lines(out)[: len(begun)] == begun
    assert len(lines(out)) == 3
    record_property("kills", 1)
    record_property("losses", sum(kept not in lines(out) for kept in begun))


@pytest.fixture
def trainer(tmp_path):
    """The trainer's class, whose methods a test may make fail."""
    from qat_train.environment import prepare_environment

    prepare_environment(1)
    from qat_train.trainer import QatTrainer

    return QatTrainer


@pytest.mark.fault(
    "B2-16",
    "NaN once: rolled back and counted, the run ends whole; its class is recovered, no success",
    how="simulated: one weight set to NaN after a step",
)
def test_one_nan(spec, tmp_path, monkeypatch, trainer):
    import torch

    step, left = trainer.optimizer_step, [1]

    def poisoned(self):
        step(self)
        if left:
            left.pop()
            with torch.no_grad():
                self.model.model[1].conv.weight[0, 0, 0, 0] = float("nan")

    monkeypatch.setattr(trainer, "optimizer_step", poisoned)
    out = tmp_path / "run"
    done = call("qat-train", "run", "--spec", spec(), "--out", out)
    assert done.code == 0, done.err
    assert [e["kind"] for e in record(out)["events"]].count("rollback") == 1
    done = call("qat-report", "summarize", "--run", out, "--method", "baseline", "--out", tmp_path / "out", "--json")
    row = json.loads(done.out)
    assert "recovered" in row["stability"]["findings"]
    assert row["status"] == "completed-failed"


@pytest.mark.fault(
    "B2-20",
    "out of memory in the first epoch: exit 7 and the key; the batch is never halved behind your back",
    how="simulated: the first batch raises what CUDA raises",
)
def test_out_of_memory(spec, tmp_path, monkeypatch, trainer):
    import torch

    def full(self, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(trainer, "preprocess_batch", full)
    out = tmp_path / "run"
    done = call("qat-train", "run", "--spec", spec(), "--out", out)
    assert (done.code, done.out) == (7, "")
    assert done.err.endswith(
        "error: out of memory with training.batch = 4; a smaller batch is another experiment: set training.batch for "
        "every run of the comparison\n"
    )
    run = record(out)
    assert (run["status"], run["training"]["effective_batch"]) == ("failed", 4)
    assert "out of memory with training.batch = 4" in run["error"]


@pytest.mark.fault(
    "B2-49",
    "the GPU falls off the bus in training: exit 7, what it said; the same call goes on",
    how="simulated: a step raises what CUDA raises",
)
def test_a_lost_device(spec, tmp_path, monkeypatch, trainer):
    import torch

    step = trainer.optimizer_step

    def lost(self):
        if self.epoch == 1:
            raise torch.AcceleratorError("CUDA error: device lost\nSearch for `cudaError' in ...")
        step(self)

    out = tmp_path / "run"
    command = ("qat-train", "run", "--spec", spec(), "--out", out)
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "optimizer_step", lost)
        done = call(*command)
    assert (done.code, done.out) == (7, "")
    assert done.err.endswith("error: device cpu failed: CUDA error: device lost; the same call again goes on\n")
    run = record(out)
    assert (run["status"], len(lines(out))) == ("failed", 1)
    kept = lines(out)
    assert call(*command).code == 0
    assert (lines(out)[:1], len(lines(out))) == (kept, 2)


@pytest.mark.fault("B2-49", "a GPU that is not there: exit 7, how many there are, before any work", how="real")
def test_a_device_that_is_not_there(spec, tmp_path):
    out = tmp_path / "run"
    done = call("qat-train", "run", "--spec", spec(device=63), "--out", out)
    assert (done.code, done.out) == (7, "")
    assert "error: training.device = '63' is not there: torch sees " in done.err
    assert done.err.endswith(" CUDA devices; use cpu, or auto\n")
    assert not (out / "run.json").exists()


@pytest.mark.slow
@pytest.mark.fault(
    "B2-45",
    "two runs at once on one prepared data set: both end, with the numbers of a run alone; the data set is as before",
    how="real",
)
def test_two_runs_share_a_data_set(spec, drawn, tmp_path):
    commands = [("qat_train", "run", "--spec", spec(), "--out", tmp_path / name) for name in ("one", "two")]
    images = tree_hash(drawn.parent / "images")
    running = [start(*command) for command in commands]
    for process in running:
        done = ended(process)
        assert done.code == 0, done.err
    assert ended(start("qat_train", "run", "--spec", spec(), "--out", tmp_path / "alone")).code == 0
    numbers = [[json.loads(line)["loss"] for line in lines(tmp_path / name)] for name in ("one", "two", "alone")]
    assert numbers[0] == numbers[1] == numbers[2]
    assert tree_hash(drawn.parent / "images") == images
    assert call("qat-data", "check", drawn.parent).code == 0
