"""A tiny run beside another one, as a job and as a task of a cluster, killed on the way: the same row, to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 900  # seconds: far above what a tiny run takes on any machine

pytestmark = pytest.mark.slow


def start(data, root, *more):
    """A ladder of one row; one thread each, since numbers depend on their count."""
    flags = ("--profile", "tiny", "--methods", "ema", "--device", "cpu", "--coco-root", data)
    keys = ("training.threads=1", "training.epochs=3")
    settings = [part for key in keys for part in ("--set", key)]
    checkpoint = ("--checkpoint", ROOT / "assets" / "yolov10n-demo.pt")
    command = ("invoke", "ladder.n", *flags, *checkpoint, *settings, "--root", root, *more)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what cancels a job of submitit's local trial
    try:
        return subprocess.Popen(
            [sys.executable, "-m", *map(str, command)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def ended(process):
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    return err


def run(root, seed):
    return root / f"trajectories/yolo10n/shared/seed{seed}"


def row(root):
    """Every number of the row of seed 0, with the hash of the weights behind it."""
    summary = json.loads((root / "yolo10n/ema/seed0/run_summary.json").read_text())
    history = [(p["epoch"], p["value"], p["weights_sha256"]) for p in summary["metrics"]["history"]]
    return history, summary["metrics"]["final_value"], summary["status"]


@pytest.fixture(scope="module")
def beside(data, tmp_path_factory):
    """The row as the default executor makes it, beside another run."""
    root = tmp_path_factory.mktemp("local") / "runs"
    ended(start(data, root, "--seeds", "0,1", "--jobs", "2"))
    return row(root)


def killed_once(data, root, *more):
    """The same row by another executor, whose trainer is killed after an epoch; what the ladder told."""
    ladder = start(data, root, "--seeds", "0", *more)
    kill_after_an_epoch(run(root, 0), ladder)
    told = ended(ladder)
    lines = (run(root, 0) / "metrics.jsonl").read_text().splitlines()
    assert [event["kind"] for line in lines for event in json.loads(line)["events"]] == ["resumed"]
    return told


def test_a_job_that_is_killed_goes_on_to_the_row_of_a_run_beside_another(data, beside, tmp_path):
    pytest.importorskip("submitit")
    trial = ("--executor", "slurm", "--set", "slurm.cluster=local", "--set", "slurm.timeout_min=60")
    told = killed_once(data, tmp_path / "runs", *trial)
    assert "seed0: Slurm job " in told
    assert "had its command killed by SIGKILL, perhaps for memory; goes on as Slurm job " in told
    assert row(tmp_path / "runs") == beside


def test_a_task_of_a_cluster_that_is_killed_goes_on_to_that_row_too(data, beside, tmp_path):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        told = killed_once(data, tmp_path / "runs", "--executor", "ray", "--set", f"ray.address={cluster.address}")
    finally:
        cluster.shutdown()
    assert "seed0: Ray task " in told
    assert "; goes on as Ray task " in told
    assert row(tmp_path / "runs") == beside


def kill_after_an_epoch(folder, ladder):
    """Kill the trainer of a run between its first epoch and its last."""
    limit = time.monotonic() + PATIENCE
    metrics, trainer = folder / "metrics.jsonl", folder / ".trainer"
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") == 1):
        assert ladder.poll() is None, ladder.communicate()[1]
        assert time.monotonic() < limit
        time.sleep(0.02)
    os.kill(json.loads(trainer.read_text())["pid"], signal.SIGKILL)
