"""Artifacts of another version, truncated, of another kind, or of hostile size: exit 3 before they are believed."""

import json
import os
import sys
import time

import pytest

from .coco import tree_hash
from .commands import ROOT, call

GATE = ("qat-gate", "check", "--policy", ROOT / "configs/gate.toml")


@pytest.fixture
def summary(planted):
    """A run_summary.json that is in order."""
    return planted.run("yolo10n", 0).summary("yolo10n", "ema", 0)


def refusals(file, tmp_path):
    """What gate and report say of a summary."""
    gate = call(*GATE, "--out", tmp_path / "gate.json", file)
    report = call("qat-report", "compare", file, "--out", tmp_path / "compared")
    assert (gate.code, report.code) == (3, 3)
    assert not (tmp_path / "gate.json").exists()
    assert not (tmp_path / "compared").exists()
    assert gate.err == report.err
    return gate.err


@pytest.mark.fault("B2-39", "artifact of a newer major version: exit 3, who wrote it, and what is needed", how="real")
def test_a_newer_major(summary, tmp_path):
    body = json.loads(summary.read_text()) | {"version": "2.0", "created_by": "qat-report 9.1", "metrics": "other"}
    summary.write_text(json.dumps(body))
    assert refusals(summary, tmp_path) == (
        f"error: {summary}: qat-report/run-summary 2.0 written by qat-report 9.1, this program reads 1.x; "
        "a newer release of it is needed\n"
    )


@pytest.mark.fault(
    "B2-39", "artifact of a newer minor version: read, its unknown keys passed over, the file untouched", how="real"
)
def test_a_newer_minor(summary, tmp_path):
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"version": "1.99", "mood": "new"}))
    before = tree_hash(summary.parent)
    assert call("qat-report", "compare", summary, "--out", tmp_path / "compared").code == 0
    assert call(*GATE, "--out", tmp_path / "gate.json", summary).code == 4  # one run is no evidence
    assert tree_hash(summary.parent) == before


@pytest.mark.fault("B2-40", "artifact cut off, empty, or no object: exit 3, the place in the file", how="real")
def test_a_truncated_artifact(summary, tmp_path):
    whole = summary.read_bytes()
    summary.write_bytes(whole[:100])
    assert refusals(summary, tmp_path).startswith(f"error: {summary}: not valid JSON: ")
    summary.write_bytes(b"")
    assert refusals(summary, tmp_path).startswith(f"error: {summary}: not valid JSON: Expecting value: line 1 column 1")
    summary.write_bytes(b"[]")
    assert refusals(summary, tmp_path) == f"error: {summary}: a JSON object is expected, found list\n"


@pytest.mark.fault("B2-40", "artifact of another kind: exit 3, what was expected and what was found", how="real")
def test_another_kind_of_artifact(summary, tmp_path):
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"schema": "qat-train/run"}))
    text = f"error: {summary}: schema 'qat-report/run-summary' is expected, found 'qat-train/run'\n"
    assert refusals(summary, tmp_path) == text


@pytest.mark.fault("B2-40", "a field of another type: exit 3, the path of the field inside the file", how="real")
def test_a_field_of_another_type(summary, tmp_path):
    body = json.loads(summary.read_text())
    body["metrics"]["history"][3]["epoch"] = "4"
    summary.write_text(json.dumps(body))
    assert "metrics.history[3].epoch: expected int, found str '4'" in refusals(summary, tmp_path)


@pytest.mark.fault(
    "B2-40", "10 GB where an artifact, a metrics file or a results.csv belongs: exit 3, none of it is read", how="real"
)
def test_ten_gigabytes(summary, planted, tmp_path):
    def inflate(path):
        with path.open("wb") as stream:
            stream.truncate(10 << 30)  # a hole: it takes no room on the disk

    run = planted.trajectory("yolo10n", 0)
    inflate(run / "metrics.jsonl")
    done = call("qat-report", "summarize", "--run", run, "--method", "ema", "--out", tmp_path / "out")
    text = f"error: {run}/metrics.jsonl: 10737418240 bytes, more than the 268435456 that such a file may have\n"
    assert (done.code, done.err) == (3, text)
    inflate(summary)
    text = f"error: {summary}: 10737418240 bytes, more than the 268435456 an artifact may have\n"
    assert refusals(summary, tmp_path) == text
    inflate(tmp_path / "results.csv")
    done = call("qat-report", "classify", tmp_path / "results.csv")
    text = f"error: {tmp_path}/results.csv: 10737418240 bytes, more than the 268435456 that such a file may have\n"
    assert (done.code, done.err) == (3, text)


@pytest.mark.fault(
    "B2-46",
    "clock set back, files dated tomorrow or 1970: the same page and decision, no time is compared",
    how="simulated: times of files and a patched wall clock",
)
def test_the_clock_jumps(planted, tmp_path, monkeypatch):
    for variant in ("yolo10n", "yolo10s"):
        for seed in (0, 1):
            planted.run(variant, seed)

    def decided(name):
        code, decision = planted.decide()
        assert call("qat-report", "compare", planted.folder, "--out", tmp_path / name).code == 0
        page = json.loads((tmp_path / name / "comparison.json").read_text())
        return code, decision["criteria"], {k: v for k, v in page.items() if k not in ("created_at", "inputs")}

    before = decided("one")
    for number, path in enumerate(sorted(planted.folder.rglob("*.json*"))):
        os.utime(path, (0, 0) if number % 2 else (2**32, 2**32))
    monkeypatch.setattr(time, "time", lambda: 1.0)
    after = decided("two")
    assert before[0] == after[0] == 0
    assert before == after


@pytest.mark.fault(
    "B2-47", "spaces, quotes, emoji and 200 characters in paths: as any other name, in every command", how="real"
)
def test_odd_names(coco, planted, tmp_path):
    odd = tmp_path / ('räum "x" 🚀 $(touch pwned) ; ' + "n" * 170)
    done = coco.prepare(odd)
    assert done.code == 0, done.err
    assert call("qat-data", "check", odd).code == 0
    planted.run("yolo10n", 0)
    root = planted.folder.rename(tmp_path / ("| x | 'y' `z`\t" + "ü" * 90))
    run = root / "trajectories/yolo10n/shared/seed0"
    out = root / "again" / odd.name
    assert call("qat-report", "summarize", "--run", run, "--method", "ema", "--out", out).code == 0
    assert call("qat-report", "compare", root / "yolo10n", "--out", root).code == 0
    assert call("qat-report", "verify", root).code == 0
    assert call(*GATE, "--out", root / "gate.json", root / "yolo10n").code == 4  # one run is no evidence
    assert list(ROOT.glob("pwned")) + list(tmp_path.rglob("pwned")) == []


@pytest.mark.fault(
    "B2-50",
    "tracking server down: exit 7, what it said; no report and no number needs it, the same call exports later",
    how="simulated: an mlflow whose client cannot connect",
)
def test_a_tracking_server_that_is_down(planted, tmp_path, monkeypatch):
    package = tmp_path / "stand_in" / "mlflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from mlflow.exceptions import MlflowException\n"
        "class MlflowClient:\n"
        "    def __init__(self, tracking_uri):\n"
        "        raise MlflowException('API request failed:\\n  Max retries exceeded: Connection refused')\n"
    )
    (package / "exceptions.py").write_text("class MlflowException(Exception):\n    pass\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(package.parent)
    root = planted.run("yolo10n", 0).folder
    before = tree_hash(root)
    done = call("qat-report", "export", "mlflow", root, "--tracking-uri", "http://127.0.0.1:1")
    assert (done.code, done.out) == (7, "")
    assert done.err == (
        "error: MLflow, experiment 'qat': API request failed: Max retries exceeded: Connection refused\n"
    )
    assert tree_hash(root) == before
    assert call("qat-report", "compare", root, "--out", tmp_path / "compared").code == 0
