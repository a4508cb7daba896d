"""A real training run that is driven into collapse, stopped by --stop-doomed, and taken up again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("QAT_TEST_DATA", ROOT.parent / "shared"))
# A hundred times the learning rate of the smoke profile; with 16 images an epoch is one step.
DOOM = ("--profile", "tiny", "--set", "training.lr0=2e-2", "--set", "training.lrf=1.0", "--set", "training.threads=1")


@pytest.fixture(scope="module")
def ladder():
    """Runs `invoke ladder.n` on BCCD in a root; gives its exit code and stderr."""
    checkpoint = SHARED / "checkpoints" / "yolov10n-bccd-192.pt"
    if not checkpoint.is_file():
        pytest.skip(f"{checkpoint} is absent; set QAT_TEST_DATA")

    def run(root, *flags):
        data = ("--coco-root", SHARED / "data" / "bccd", "--checkpoint", checkpoint, "--device", "cpu")
        command = [sys.executable, "-m", "invoke", "ladder.n", *data, *DOOM, "--seeds", "0", "--root", root, *flags]
        done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    return run


def summaries(root):
    found = root.glob("yolo10n/*/seed0/run_summary.json")
    return {path.parts[-3]: json.loads(path.read_text(encoding="utf-8")) for path in found}


def hashes(root):
    """Weights and values of both series by epoch."""
    lines = (root / "trajectories/yolo10n/shared/seed0/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    epochs = [json.loads(line) for line in lines]
    return [(e["epoch"], *(e[s][k] for s in ("raw", "ema") for k in ("weights_sha256", "map50_95"))) for e in epochs]


@pytest.mark.slow
def test_doomed_run_is_stopped_told_of_and_resumed_to_the_same_numbers(ladder, tmp_path):
    rows = ("--methods", "baseline,ema")
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    code, shown = ladder(stopped, *rows, "--stop-doomed")
    assert code == 6, shown
    assert "error: seed0 of yolo10n/shared: stopped: doomed, raw metric-fall for 2 epochs: " in shown
    reached = len(hashes(stopped))
    assert 3 <= reached < 6

    for row in summaries(stopped).values():
        assert (row["status"], row["stability"]["class"], row["stability"]["collapsed"]) == (
            "incomplete",
            "incomplete",
            True,
        )
        assert row["error"].startswith(f"stopped: doomed after epoch {reached} of 6: raw metric-fall for 2 epochs: ")
    comparison = json.loads((stopped / "comparison.json").read_text(encoding="utf-8"))
    assert [cell["classes"] for cell in comparison["cells"]] == [{"0": "incomplete"}] * 2
    assert all("0 of 1 seed stable (seed 0 incomplete)" in text for text in comparison["verdict"])
    assert sum("left out of the means: incomplete, stopped: doomed after" in text for text in comparison["notes"]) == 2
    status = [sys.executable, "-m", "invoke", "ladder.status", "--root", str(stopped), "--json"]
    cells = json.loads(subprocess.run(status, cwd=ROOT, capture_output=True, text=True, check=True).stdout)["cells"]
    assert [(cell["state"], cell["epochs"]) for cell in cells] == [("stopped", reached)] * 2

    assert ladder(stopped, *rows, "--stop-doomed")[0] == 6  # asked again, it is not started
    assert len(hashes(stopped)) == reached

    code, shown = ladder(stopped, *rows)
    assert code == 0, shown
    assert ladder(whole, *rows)[0] == 0
    assert hashes(stopped) == hashes(whole)
    for method, row in summaries(stopped).items():
        other = summaries(whole)[method]
        assert (row["status"], row["error"]) == ("completed-failed", None)
        assert row["metrics"] == other["metrics"]
        assert row["stability"]["class"] == other["stability"]["class"]
