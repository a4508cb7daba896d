"""State is what the folders of a run root hold."""

import json

import pytest

from qat_ladder.errors import ConfigError
from qat_ladder.layout import Root
from qat_ladder.plan import Cell
from qat_ladder.stage import run_stage
from qat_ladder.status import cell_status, describe, line

CELL = Cell(variant="yolo10n", method="ema+qc", weights="ema", correction=True, arm="shared", seed=0)
HEADER = {"version": "1.0", "created_by": "test 1", "inputs": []}


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "runs")


@pytest.fixture
def run(root):
    """Leave a training run in a state."""

    def leave(status, epochs):
        folder = root.trajectory("yolo10n", "shared", 0)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps({"schema": "qat-train/run", **HEADER, "status": status}))
        (folder / "metrics.jsonl").write_text("{}\n" * epochs)
        (folder / "log.txt").write_text("error: out of memory\n")

    return leave


def summarize(root, status, final):
    folder = root.summary("yolo10n", "ema+qc", 0)
    folder.mkdir(parents=True, exist_ok=True)
    body = {"schema": "qat-report/run-summary", **HEADER, "status": status, "metrics": {"final_value": final}}
    (folder / "run_summary.json").write_text(json.dumps(body))


def test_a_cell_without_a_run_is_waiting(root):
    found = cell_status(root, CELL)
    assert (found.state, found.epochs, found.reason) == ("waiting", 0, "not trained yet")


def test_a_run_that_was_cut_off_says_after_which_epoch(root, run):
    run("running", 3)
    found = cell_status(root, CELL)
    assert (found.state, found.epochs, found.reason) == ("interrupted", 3, "training stopped after epoch 3")


def test_a_failed_run_says_why(root, run):
    run("failed", 1)
    assert cell_status(root, CELL).reason == "training failed: out of memory"


def test_a_trained_run_without_its_row_is_not_done(root, run):
    run("completed", 6)
    found = cell_status(root, CELL)
    assert (found.state, found.reason) == ("interrupted", "trained; correction or summary is missing")


def test_an_incomplete_summary_is_not_done_and_a_completed_one_is(root, run):
    run("running", 3)
    summarize(root, "incomplete", None)
    assert cell_status(root, CELL).state == "interrupted"
    run("completed", 6)
    summarize(root, "completed-success", 0.4)
    found = cell_status(root, CELL)
    assert (found.state, found.final_value) == ("done", 0.4)
    assert line(found) == "yolo10n ema+qc         seed 0  done, mAP50-95 0.4000"


def test_the_whole_root_as_text_and_as_json(products, request_for, root):
    with pytest.raises(ConfigError, match=r"holds no ladder\.json; run `invoke ladder\.n"):
        describe(root)
    run_stage(request_for(seeds=[0], methods=["ema+qc"]))
    summarize(root, "completed-success", 0.4)
    assert describe(root).splitlines()[0] == f"{root.path}: 1 of 1 cells done"
    found = json.loads(describe(root, as_json=True))
    assert found["busy"] is None
    assert [cell["state"] for cell in found["cells"]] == ["done"]
