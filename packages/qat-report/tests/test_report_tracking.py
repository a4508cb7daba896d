"""Replays into TensorBoard and MLflow, read back by their own readers."""

import json
import math
import subprocess
import sys

import pytest

from qat_report import ReportError
from qat_report.errors import ToolError
from qat_report.finding import read_summaries
from qat_report.tracking import export_mlflow, export_tensorboard, replays
from qat_report.tracking.tensorboard import place_of

STARTED = 1767323045.0  # 2026-01-02T03:04:05+00:00, of the fixture run


def rows_of(root):
    return replays(read_summaries([root]))[0]


def series(row, name):
    return [(scalar.epoch, scalar.value) for scalar in row.scalars if scalar.name == name]


def only(rows, method):
    return next(row for row in rows if row.run_id.endswith(f"/{method}"))


def test_series_have_the_names_and_the_unrounded_values_that_ultralytics_logs(traced):
    row = only(rows_of(traced()), "ema+qc")
    assert {scalar.name for scalar in row.scalars} == {
        "train/box_loss", "train/cls_loss", "train/dfl_loss", "lr/pg0", "metrics/precision(B)", "metrics/recall(B)",
        "metrics/mAP50(B)", "metrics/mAP50-95(B)", "oscillation/share", "oscillation/switches", "references/fp32",
        "references/ptq",
    }  # fmt: skip
    ema = [0.09375, 0.21875, 0.296875, 0.34375, 0.375, 0.390625]
    assert series(row, "metrics/mAP50-95(B)") == [*enumerate(ema, start=1), (7, 0.40625)]
    assert series(row, "train/box_loss")[:2] == [(1, 1.375), (2, 1.25)]
    assert series(row, "lr/pg0") == [(epoch, 0.0002) for epoch in range(1, 7)]
    assert series(row, "references/fp32") == [(0, 0.4375)]
    assert (row.started, row.ended, row.whole) == (STARTED, STARTED + 60.0, True)


def test_drift_is_logged_where_it_was_recorded(traced):
    def change(number, line):
        spread = {"median": 0.25 * number, "max": 1.0 * number}
        scales = spread if number else None
        line["drift"] = {"scale_since_before": scales, "scale_since_start": None, "bn_variance": spread}

    row = only(rows_of(traced(methods=("ema",), change=change)), "ema")
    assert series(row, "drift/bn_variance") == [(i + 1, 0.25 * i) for i in range(6)]
    assert series(row, "drift/scale_since_before") == [(i + 1, 0.25 * i) for i in range(1, 6)]
    assert series(row, "drift/scale_since_start") == []


def test_row_reports_its_own_weights(traced):
    rows = rows_of(traced(methods=("baseline", "ema")))
    assert series(only(rows, "baseline"), "metrics/mAP50-95(B)")[0] == (1, 0.125)
    assert series(only(rows, "ema"), "metrics/mAP50-95(B)")[0] == (1, 0.09375)


def test_value_that_was_not_finite_is_nan_and_no_gap(traced):
    def change(number, line):
        if number == 2:
            line["loss"]["box"], line["raw"] = None, None

    row = only(rows_of(traced(methods=("baseline",), change=change)), "baseline")
    for name in ("train/box_loss", "metrics/mAP50-95(B)"):
        assert [math.isnan(value) for _, value in series(row, name)] == [False, False, True, False, False, False]


def test_summary_alone_gives_its_series(ladder):
    root, _ = ladder("good")
    row = next(row for row in rows_of(root) if row.run_id == "yolo10n/seed0/ema+qc")
    assert {scalar.name for scalar in row.scalars} == {"metrics/mAP50-95(B)", "references/fp32", "references/ptq"}
    assert series(row, "metrics/mAP50-95(B)")[-1] == (7, 0.40625)


def test_refused_run_has_nothing_to_replay(ladder, ladder_row):
    assert rows_of(ladder(ladder_row("good", 0, set={"status": "refused"}))[0]) == []


def test_time_that_is_none_is_refused_with_its_file(ladder, ladder_row):
    root, _ = ladder(ladder_row("good", 0, set={"created_at": "yesterday"}))
    with pytest.raises(ReportError, match=r"run_summary.json: created_at 'yesterday' is no time in ISO 8601$"):
        rows_of(root)


def test_identity_is_run_data_and_checkpoint_and_survives_a_change_of_the_numbers(ladder, ladder_row, tmp_path):
    changes = ({}, {"history": [0.1, 0.2]}, {"set": {"dataset.fingerprint": "0" * 64}})
    keys = [rows_of(ladder(ladder_row("good", 0, **c), root=tmp_path / str(i))[0])[0] for i, c in enumerate(changes)]
    assert keys[0].key == keys[1].key != keys[2].key
    assert len({row.digest for row in keys}) == 3


def read_events(folder):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(folder), size_guidance={reader.SCALARS: 0}).Reload()
    return {tag: [(e.step, e.wall_time, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.fixture
def board(traced, tmp_path):
    """A root exported to TensorBoard."""
    pytest.importorskip("tensorboard")
    root = traced()
    assert {done.state for done in export_tensorboard(rows_of(root), tmp_path / "board")} == {"written"}
    return root, tmp_path / "board"


def test_tensorboard_reads_what_was_logged(board):
    found = read_events(board[1] / "n/seed0/ema")
    assert found["metrics/mAP50-95(B)"][:2] == [(1, STARTED + 10, 0.09375), (2, STARTED + 20, 0.21875)]
    assert found["train/dfl_loss"] == [(epoch, STARTED + 10 * epoch, 1.0) for epoch in range(1, 7)]
    assert found["references/ptq"] == [(0, STARTED, 0.0625)]


def test_tensorboard_export_again_writes_nothing(board):
    root, folder = board
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    assert {done.state for done in export_tensorboard(rows_of(root), folder)} == {"unchanged"}
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    assert after == before
    assert len(before) == 3


def test_tensorboard_export_of_a_changed_run_replaces_it_and_leaves_others_files(board):
    root, folder = board
    other = folder / "n/seed0/ema/events.out.tfevents.1.somebody"
    other.write_bytes(b"")
    path = root / "yolo10n/ema/seed0/run_summary.json"
    later = path.read_text(encoding="utf-8").replace("2026-01-02T03:04:05", "2026-01-02T04:04:05")
    path.write_text(later, encoding="utf-8")
    states = {done.run_id: done.state for done in export_tensorboard(rows_of(root), folder)}
    assert states == {"n/seed0/baseline": "unchanged", "n/seed0/ema": "replaced", "n/seed0/ema+qc": "unchanged"}
    names = sorted(found.name for found in (folder / "n/seed0/ema").iterdir())
    assert names == ["events.out.tfevents.1.somebody", f"events.out.tfevents.{int(STARTED) + 3600}.qat-report"]
    assert len(read_events(folder / "n/seed0/ema")["lr/pg0"]) == 6


@pytest.mark.parametrize(
    "run_id", ["../../etc/passwd", "/abs", "a/../b", "..", "", "a b", "ä", "x" * 300, "a//b", "\x00"]
)
def test_folder_of_any_run_id_lies_inside_and_is_its_own(run_id, tmp_path):
    found = place_of(run_id)
    assert (tmp_path / found).resolve().is_relative_to(tmp_path)
    assert not found.startswith("/")
    assert ".." not in found.split("/")
    assert found != place_of(run_id + "x")
    assert max(map(len, found.split("/"))) <= 100


def test_plain_run_id_is_its_own_folder():
    assert place_of("yolo10n/shared/seed0/ema+qc") == "yolo10n/shared/seed0/ema+qc"


@pytest.fixture
def store(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def logged(store):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    place = client.get_experiment_by_name("bccd").experiment_id
    return client, {run.data.tags["qat.run_id"]: run for run in client.search_runs([place])}


def test_mlflow_reads_what_was_logged_and_a_second_export_adds_nothing(traced, store):
    root = traced()
    first = export_mlflow(rows_of(root), experiment="bccd", store=store)
    client, runs = logged(store)
    assert {done.state for done in first} == {"written"}
    assert len(runs) == 3
    run = runs["n/seed0/ema+qc"]
    history = client.get_metric_history(run.info.run_id, "metrics/mAP50-95B")
    assert [(m.step, m.value) for m in history][:2] == [(0, 0.09375), (1, 0.21875)]
    assert [(m.step, m.value) for m in history][-1] == (6, 0.40625)
    assert (run.info.start_time, run.info.end_time, run.info.status) == (1767323045000, 1767323105000, "FINISHED")
    assert (run.data.params["seed"], run.data.params["qat.method"]) == ("0", "ema+qc")
    assert (run.data.tags["qat.class"], run.data.tags["qat.collapsed"]) == ("stable", "false")
    assert run.data.tags["mlflow.source.git.branch"] == "main"

    again = export_mlflow(rows_of(root), experiment="bccd", store=store)
    assert [(done.state, done.place) for done in again] == [("unchanged", done.place) for done in first]
    _, after = logged(store)
    assert {name: found.info.run_id for name, found in after.items()} == {n: r.info.run_id for n, r in runs.items()}
    assert len(client.get_metric_history(run.info.run_id, "metrics/mAP50-95B")) == 7

    path = root / "yolo10n/ema/seed0/run_summary.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"completed-success"', '"incomplete"'), encoding="utf-8")
    states = {done.run_id: done.state for done in export_mlflow(rows_of(root), experiment="bccd", store=store)}
    assert states == {"n/seed0/baseline": "unchanged", "n/seed0/ema": "replaced", "n/seed0/ema+qc": "unchanged"}
    _, changed = logged(store)
    assert len(changed) == 3
    assert changed["n/seed0/ema"].info.status == "KILLED"


def test_mlflow_run_that_was_cut_off_on_the_way_is_logged_anew(traced, store):
    (row,) = rows_of(traced(methods=("baseline",)))
    (first,) = export_mlflow([row], experiment="bccd", store=store)
    client, _ = logged(store)
    client.delete_tag(first.place, "qat.summary_sha256")
    (second,) = export_mlflow([row], experiment="bccd", store=store)
    assert (second.state, second.place != first.place) == ("replaced", True)
    assert len(logged(store)[1]) == 1


def test_store_that_does_not_answer_is_the_environments_fault(traced, store):
    with pytest.raises(ToolError, match=r"^MLflow, experiment 'bccd': "):
        export_mlflow(rows_of(traced()), experiment="bccd", store="nonsense://nowhere")


def qat_report(*arguments, before="", **options):
    command = [sys.executable, "-c", f"{before}from qat_report.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_command_exports_to_tensorboard_and_prints_what_became_of_each_row(ladder, tmp_path):
    pytest.importorskip("tensorboard")
    root, _ = ladder("collapsed")
    done = qat_report("export", "tensorboard", root, "--out", tmp_path / "board")
    text = f"yolo10n/seed2/baseline\twritten\t{tmp_path}/board/yolo10n/seed2/baseline\n"
    assert (done.returncode, done.stdout) == (0, text)
    done = qat_report("export", "tensorboard", root, "--out", tmp_path / "board", "--json")
    assert [row["state"] for row in json.loads(done.stdout)] == ["unchanged"]


@pytest.mark.slow
def test_command_exports_to_mlflows_own_default_store_and_keeps_stdout_clean(ladder, store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root, _ = ladder("collapsed")
    done = qat_report("export", "mlflow", root, "--experiment", "bccd", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert [row["state"] for row in json.loads(done.stdout)] == ["written"]
    assert list(logged(store)[1]) == ["yolo10n/seed2/baseline"]


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_missing_package_exits_7_with_the_command_that_installs_it(ladder, tracker, tmp_path):
    root, _ = ladder("collapsed")
    hide = f"import sys; sys.modules[{tracker!r}] = None; "
    options = ["--out", tmp_path / "board"] if tracker == "tensorboard" else []
    done = qat_report("export", tracker, root, *options, before=hide)
    text = f"error: {tracker} is not installed; run: python -m pip install 'qat-report[{tracker}]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (7, "", text)
