"""One run on several devices: two processes on the CPU, as the public command starts them."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import qat_artifacts
from qat_train import ranks
from qat_train.errors import SpecError
from qat_train.runner import execute

from .conftest import THREADS

SPEC = """\
[run]
run_id = "tiny/seed0"
trajectory_id = "tiny/seed0"
seed = {seed}

[model]
variant = "yolo10n"
checkpoint = '{checkpoint}'

[data]
dataset = '{dataset}'

[training]
epochs = {epochs}
imgsz = 64
batch = {batch}
lr0 = 1e-3
lrf = 0.1
threads = 1
device = "{device}"

[quantization]
learned = {learned}
{rest}
"""


@pytest.fixture
def specify(tmp_path, dataset, checkpoint):
    def write(name="spec", *, seed=0, device="cpu,cpu", epochs=2, batch=4, learned="false", rest=""):
        path = tmp_path / f"{name}.toml"
        values = {"seed": seed, "device": device, "epochs": epochs, "batch": batch, "learned": learned, "rest": rest}
        path.write_text(SPEC.format(checkpoint=checkpoint, dataset=dataset, **values))
        return path

    return write


def command(*arguments):
    return [sys.executable, "-m", "qat_train", *map(str, arguments)]


def run(*arguments, env=None):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, env=env, check=False)


def until_the_first_epoch(*arguments):
    """A run that is through with its first epoch."""
    going = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
    for line in going.stderr:
        if "epoch 1/" in line:
            break
    return going


def numbers(folder):
    """What must be the same in a repetition: weights and metrics of every epoch, and of the checkpoint."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    series = [{k: {**line[k], "seconds": 0} for k in ("raw", "ema") if line[k]} for line in lines]
    checkpoint = json.loads((folder / "checkpoint" / "checkpoint.json").read_text())
    return series, [line["loss"] for line in lines], checkpoint["weights_sha256"]


def test_two_ranks_train_one_run_and_rank_0_alone_writes(specify, tmp_path):
    done = run("run", "--spec", specify(learned="true"), "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["status"] == "completed"
    assert record["training"]["device"] == "cpu,cpu"
    # 8 images, 4 a step over both ranks
    assert (record["training"]["effective_batch"], record["training"]["steps_per_epoch"]) == (4, 2)
    assert record["ema"]["steps"] == 4
    assert done.stderr.count("epoch 1/2") == 1
    assert [p.name for p in (tmp_path / "run").glob(".*") if p.name != ".trainer"] == []
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_repetition_gives_the_same_bits_and_a_resumed_run_does_too(specify, tmp_path):
    spec = specify(rest="[interventions]\ndampening = 0.001\nfreezing = 0.02")
    assert run("run", "--spec", spec, "--out", tmp_path / "a").returncode == 0
    first = until_the_first_epoch("run", "--spec", spec, "--out", tmp_path / "b")
    first.kill()
    first.communicate()
    assert not (tmp_path / "b" / "checkpoint").exists()
    again = run("run", "--spec", spec, "--out", tmp_path / "b", "--resume", "must")
    assert again.returncode == 0, again.stderr
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")


WATCHING = """\
import hashlib, sys
from qat_train import ranks
from qat_train.trainer import QatTrainer

def say(what, tensors):  # the statistics of batch norm are each rank's own: rank 0's are kept
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        if "running" not in name:
            digest.update(name.encode() + value.numpy().tobytes())
    print(f"rank {ranks.rank()} {what} {digest.hexdigest()}", file=sys.stderr, flush=True)

def final_eval(self):
    say("weights", self.net.state_dict())
    say("average", self.ema.ema.state_dict())
    say("oscillations", self._tracker.state())
QatTrainer.final_eval = final_eval
"""
HOOK = """\
import importlib.abc, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "qat_train.runner":
            sys.meta_path.remove(self)
            import watching
sys.meta_path.insert(0, Finder())
"""


def test_ranks_hold_the_same_weights_scales_average_and_oscillations(specify, tmp_path):
    site = tmp_path / "site"  # Python runs its sitecustomize in each rank
    site.mkdir()
    (site / "watching.py").write_text(WATCHING)
    (site / "sitecustomize.py").write_text(HOOK)
    spec = specify(learned="true", rest="[interventions]\nfreezing = 0.02")
    done = run("run", "--spec", spec, "--out", tmp_path / "run", env=os.environ | {"PYTHONPATH": str(site)})
    assert done.returncode == 0, done.stderr
    found = {}
    for rank, what, digest in re.findall(r"rank (\d) (\w+) ([0-9a-f]{64})", done.stderr):  # two write at a time
        found.setdefault(what, {})[rank] = digest
    assert found.keys() == {"weights", "average", "oscillations"}
    for by_rank in found.values():
        assert by_rank.keys() == {"0", "1"}
        assert len(set(by_rank.values())) == 1
    assert len({digest for by_rank in found.values() for digest in by_rank.values()}) == 3


@pytest.mark.slow
def test_the_other_ranks_die_with_the_first(specify, tmp_path):
    going = until_the_first_epoch("run", "--spec", specify(epochs=3), "--out", tmp_path / "run")
    others = [p for p in children(going.pid) if b"qat_train.companion" in cmdline(p)]
    assert len(others) == 1
    going.kill()
    going.wait()
    deadline = time.monotonic() + 60
    while any(b"qat_train.companion" in cmdline(p) for p in others) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(b"qat_train.companion" in cmdline(p) for p in others)


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def cmdline(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("0,cpu", "training.device = '0,cpu': several devices are CUDA indices such as 0,1, or cpu,cpu"),
        ("0,", "training.device = '0,': several devices are CUDA indices such as 0,1, or cpu,cpu"),
        ("1,1", "training.device = '1,1': a device is named twice"),
    ],
)
def test_devices_that_cannot_train_together(specify, tmp_path, device, text):
    done = run("run", "--spec", specify(device=device), "--out", tmp_path / "run")
    assert (done.returncode, done.stderr) == (2, f"error: {text}\n")
    assert not (tmp_path / "run").exists()


LOADS = """\
import multiprocessing, os, sys
from pathlib import Path
from qat_train import ranks
ranks.obey(sys.stdin.buffer.readline(), Path(sys.argv[1]))
loader = multiprocessing.get_context("fork").Process(target=print)
loader.start()
loader.join(60)
print("loaded" if loader.exitcode == 0 else "hangs", file=sys.stderr, flush=True)
multiprocessing.Event().wait()
"""


def test_another_rank_can_load_images_in_processes_and_ends_with_the_pipe(make_spec, tmp_path):
    folder = tmp_path / "of the rank"
    folder.mkdir()
    values = {"out": "out", "identity": "", "threads": 1, "pretrain": False, "meeting": "meeting"}
    order = json.dumps(qat_artifacts.unstructure(ranks.Order(spec=make_spec(), **values)))
    program = [sys.executable, "-c", LOADS, str(folder)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdin.write(f"{order}\n")
        process.stdin.flush()
        assert process.stderr.readline() == "loaded\n"
        process.stdin.close()
        assert process.wait(60) == 0
    assert not folder.exists()


def test_an_error_of_another_rank_is_told_and_fails_the_run(specify, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "watching.py").write_text(
        "from qat_train import ranks\n"
        "from qat_train.errors import InputError\n"
        "from qat_train.trainer import QatTrainer\n"
        "def fail(self):\n"
        "    if ranks.rank() == 1:\n"
        "        raise InputError('made to fail')\n"
        "QatTrainer.optimizer_step = fail\n"
    )
    (site / "sitecustomize.py").write_text(HOOK)
    out = tmp_path / "run"
    done = run("run", "--spec", specify(), "--out", out, env=os.environ | {"PYTHONPATH": str(site)})
    assert done.returncode == 7, done.stderr
    assert "error: made to fail\n" in done.stderr
    assert done.stderr.endswith("error: rank 1 on device cpu ended with code 3, see above\n")
    assert "Traceback" not in done.stderr
    assert json.loads((out / "run.json").read_text())["status"] == "failed"


def test_a_batch_that_cannot_be_divided(specify, tmp_path):
    done = run("run", "--spec", specify(batch=3), "--out", tmp_path / "run")
    assert (done.returncode, done.stderr) == (
        2, "error: training.batch = 3 cannot be divided among 2 devices; give a multiple of 2\n"
    )  # fmt: skip


def test_a_library_call_says_that_its_process_is_no_rank(make_spec, tmp_path):
    with pytest.raises(SpecError, match="several devices are for qat-train run and pretrain, which start a process"):
        execute(make_spec(training={"device": "cpu,cpu"}), tmp_path / "run", threads=THREADS, report=lambda *_: None)


def test_a_process_that_has_imported_ultralytics_cannot_become_a_rank(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SpecError, match="Ultralytics was imported before this process was made one of 2 ranks"):
        ranks.become_first(2)


def test_the_environment_of_another_distributed_program_is_not_ours(specify, tmp_path):
    alien = os.environ | {"RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "4"}
    done = run("pace", "--spec", specify(device="cpu"), "--out", tmp_path / "pace.json", "--steps", "1", env=alien)
    assert done.returncode == 0, done.stderr


def test_another_number_of_devices_is_another_run(make_spec):
    from qat_train.runner import spec_identity

    one, two = (spec_identity(make_spec(training={"device": d}), pretrain=False) for d in ("cpu", "cpu,cpu"))
    assert one != two


def test_what_is_measured_on_one_device_refuses_several(specify, tmp_path):
    done = run("pace", "--spec", specify(), "--out", tmp_path / "pace.json", "--steps", "1")
    assert done.returncode == 2
    assert "error: training.device = 'cpu,cpu': several devices are for qat-train run and pretrain" in done.stderr


def test_a_record_names_every_device_and_the_first_is_used_later():
    assert ranks.describe("0,2", "cuda:0") == "cuda:0,cuda:2"
    assert ranks.describe("auto", "cpu") == "cpu"
    assert [ranks.first_of(text) for text in ("cuda:0,cuda:2", "cpu,cpu", "cpu", "cuda:1")] == ["0", "cpu", "cpu", "1"]
