"""Many calls in one process: nothing is left open, nothing piles up, nothing lies about."""

import gc
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from .commands import ROOT, call

WARM, ROUNDS = 10, 100  # of five calls each
LARGEST_GROWTH = 24 << 20  # bytes; one leaked result of each call would be more


def resident():
    """Memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def handles():
    """What this process has open."""
    found = [path for path in Path("/proc/self/fd").iterdir() if path.exists()]  # but the listing itself
    return sorted(str(path.readlink()) for path in found)


def grown(calls, root, scratch):
    """Make calls, exit code by command line, again and again; how much memory that took, in bytes."""
    tempfile.tempdir = str(scratch)

    def round_of_calls():
        for command, code in calls.items():
            assert call(*command).code == code

    for _ in range(WARM):
        round_of_calls()
    gc.collect()
    files, open_before, memory = sorted(root.rglob("*")), handles(), resident()
    for _ in range(ROUNDS):
        round_of_calls()
    gc.collect()
    assert handles() == open_before
    assert sorted(root.rglob("*")) == files
    assert list(scratch.iterdir()) == []
    return resident() - memory


@pytest.mark.fault(
    "extra-leaks",
    "500 calls of data, report and gate in one process on one root: no handle, memory or temporary file is left",
    how="real",
)
def test_500_calls_leave_nothing(coco, planted, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert coco.prepare(tmp_path / "prepared").code == 0
    run = planted.run("yolo10n", 0).trajectory("yolo10n", 0)
    root = planted.folder
    (root / "results.csv").write_text("epoch,metrics/mAP50-95(B)\n1,0.1\n2,0.2\n")
    calls = {
        ("qat-data", "check", tmp_path / "prepared"): 0,
        ("qat-report", "classify", root / "results.csv", "--json"): 0,
        ("qat-report", "series", root / "none.csv"): 3,
        ("qat-report", "summarize", "--run", run, "--method", "ema", "--out", root / "yolo10n/ema/seed0"): 0,
        ("qat-gate", "check", "--policy", ROOT / "configs/gate.toml", "--out", root / "gate.json", root): 4,
    }

    # A process of its own: what earlier tests have imported and let go of here is no growth of these calls.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        growth = fresh.submit(grown, calls, root, scratch).result(timeout=900)
    assert growth < LARGEST_GROWTH
