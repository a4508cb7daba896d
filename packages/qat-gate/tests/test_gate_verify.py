"""A summary is held against the files it was made from."""

import hashlib
import json

import pytest

import qat_artifacts
from qat_gate import Verification, read_summaries, verify
from qat_gate.naming import Row, row_of

VALUES = (0.10, 0.22, 0.31, 0.35, 0.38, 0.40)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def value(x, name):
    return {"map50_95": x, "weights_sha256": digest(name)}


def reference(file, schema="file", folder=""):
    return {"schema": schema, "path": f"{folder}{file.name}", "sha256": qat_artifacts.sha256_file(file)}


@pytest.fixture
def planted(tmp_path, raw):
    """A run, its correction and its summary as files; returns the summary's path."""
    run = tmp_path / "run"
    run.mkdir()
    metrics = run / "metrics.jsonl"
    lines = [
        {"epoch": e, "raw": value(x - 0.05, f"raw{e}"), "ema": value(x, f"yolo10n0/{e}"), "events": []}
        for e, x in enumerate(VALUES, start=1)
    ]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    summary = raw(values=(*VALUES, 0.41))
    summary["metrics"]["history"][-1]["stage"] = "qc"
    header = {"version": "1.0", "created_by": "test 1"}
    blocks = ("model", "quantization", "dataset", "training", "evaluation", "versions", "trajectory_id")
    body = {key: summary[key] for key in blocks}
    references = {"fp32": value(0.44, "fp32"), "ptq": value(0.07, "ptq")}
    record = {
        "run_id": "yolo10n-w4-seed0",
        "status": "completed",
        "ema": summary["method"]["ema"] | {"steps": 6},
        "events": [],
        "references": references,
        "files": {"metrics": "metrics.jsonl", "checkpoint": "checkpoint/checkpoint.json"},
        "inputs": [reference(metrics)],
    }
    (run / "run.json").write_text(json.dumps({"schema": "qat-train/run", **header, **body, **record}))
    qc = {
        "run_id": "yolo10n-w4-seed0",
        "weights": "ema",
        "epochs": 1,
        "lr": 1e-4,
        "bn_stats_fixed": True,
        "after": value(0.41, "yolo10n0/7"),
        "inputs": [reference(run / "run.json", "qat-train/run")],
    }
    (run / "qc.json").write_text(json.dumps({"schema": "qat-qc/correction", **header, **qc}))
    file = tmp_path / "summary" / "run_summary.json"
    file.parent.mkdir()
    inputs = [
        reference(run / name, schema, "../run/")
        for schema, name in (("qat-train/run", "run.json"), ("file", "metrics.jsonl"), ("qat-qc/correction", "qc.json"))
    ]
    file.write_text(json.dumps(summary | {"inputs": inputs}))
    return file


def edit(file, **changes):
    """Change a JSON file in place; keys as in make_raw, list indices included."""
    content = json.loads(file.read_text())
    for name, new in changes.items():
        *parents, last = name.split("__")
        block = content
        for parent in parents:
            block = block[int(parent) if parent.isdecimal() else parent]
        block[int(last) if last.isdecimal() else last] = new
    file.write_text(json.dumps(content))


def found(file):
    return verify(file, read_summaries([file])[file])


def test_a_summary_of_its_inputs_is_verified(planted):
    result = found(planted)
    assert result.contradicted == ()
    assert result.absent == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metrics__history__1__value": 0.3}, "history at epoch 2 is 0.3 (qat), the inputs say 0.22 (qat)"),
        ({"metrics__history__6__value": 0.42}, "history at epoch 7 is 0.42 (qc), the inputs say 0.41 (qc)"),
        ({"metrics__history__0__weights_sha256": "0"}, "history at epoch 1 is 0.1 (qat), the inputs say 0.1 (qat)"),
        ({"metrics__fp32": 0.2}, "metrics.fp32 is 0.2, run.json says 0.44"),
        ({"metrics__ptq": None}, "metrics.ptq is None, run.json says 0.07"),
        ({"training__epochs": 20}, "training.epochs is 20, run.json says 6"),
        ({"training__overrides": {"profile": "full"}},
         "training.overrides is {'profile': 'full'}, run.json says {'profile': 'short'}"),
        ({"model__imgsz": 640}, "model.imgsz is 640, run.json says 320"),
        ({"quantization__policy": "all"}, "quantization.policy is 'all', run.json says 'default'"),
        ({"dataset__fingerprint": "f"}, f"dataset.fingerprint is 'f', run.json says {digest('data')!r}"),
        ({"run_id": "elsewhere/ema+qc"}, "run_id is 'elsewhere/ema+qc', run.json says 'yolo10n-w4-seed0/ema+qc'"),
        ({"versions__torch": "9"}, "versions.torch is '9', run.json says '2.14.1'"),
        ({"stability__events": [{"epoch": 1, "kind": "rollback"}]},
         "stability.events is [(1, 'rollback')], run.json says []"),
        ({"method__ema__enabled": False}, "method.ema.enabled is False, the name ema+qc says True"),
        ({"method__qc__enabled": False}, "method.qc.enabled is False, the name ema+qc says True"),
        ({"method__ema__decay": 0.9}, "method.ema.decay is 0.9, run.json says 0.5"),
        ({"method__qc__epochs": 50}, "epochs of qc.json is 1, ema+qc of this run has 50"),
        ({"evaluation__head": "one2many"}, "evaluation.head is 'one2many', run.json says 'one2one'"),
        ({"evaluation__conf": 0.25}, "evaluation.conf is 0.25, run.json says 0.001"),
        ({"metrics__primary_name": "metrics/mAP50(B)"},
         "metrics.primary_name is 'metrics/mAP50(B)', its inputs hold 'metrics/mAP50-95(B)'"),
        ({"status": "incomplete"}, "its status is incomplete, run.json says completed"),
    ],
)  # fmt: skip
def test_a_statement_that_the_inputs_contradict_is_found(planted, changes, expected):
    edit(planted, **changes)
    assert expected in found(planted).contradicted


def test_points_that_were_left_out_are_found(planted):
    content = json.loads(planted.read_text())
    edit(planted, metrics__history=content["metrics"]["history"][1:])
    assert found(planted).contradicted == ("its history has 6 points, its inputs 7",)


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "qc.json"])
def test_an_input_that_changed_is_found_by_its_hash(planted, name):
    with (planted.parent.parent / "run" / name).open("a") as stream:
        stream.write(" ")
    assert found(planted).contradicted == (f"../run/{name} is not the file it was made from (SHA-256 differs)",)


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "qc.json"])
def test_an_input_that_is_gone_keeps_it_open(planted, name):
    (planted.parent.parent / "run" / name).unlink()
    assert found(planted).absent == (f"../run/{name} is not there",)


def test_a_header_without_inputs_keeps_it_open(planted):
    edit(planted, inputs=[])
    assert found(planted).absent == (
        "its header names no run",
        "its header names no metrics",
        "its header names no correction",
    )


def test_an_input_that_is_no_artifact_is_a_contradiction_not_a_crash(planted):
    run = planted.parent.parent / "run" / "metrics.jsonl"
    run.write_text("{torn")
    record = run.with_name("run.json")
    edit(record, inputs=[reference(run)])
    edit(run.with_name("qc.json"), inputs=[reference(record, "qat-train/run")])
    rehash(planted)
    (text,) = found(planted).contradicted
    assert text.startswith("an input cannot be read: ")


def rehash(planted):
    """Give the summary the hashes that its inputs have now, as somebody who edits both would."""
    inputs = json.loads(planted.read_text())["inputs"]
    edit(planted, inputs=[i | {"sha256": qat_artifacts.sha256_file(planted.parent / i["path"])} for i in inputs])


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("run.json", {"status": "running"}, "its status is completed-success, run.json says running"),
        ("run.json", {"status": "failed"}, "its status is completed-success, run.json says failed"),
        ("run.json", {"training__epochs": 12}, "the metrics hold 6 of 12 epochs, though run.json says completed"),
        ("qc.json", {"run_id": "another"}, "run_id of qc.json is 'another', ema+qc of this run has 'yolo10n-w4-seed0'"),
        ("qc.json", {"weights": "raw"}, "weights of qc.json is 'raw', ema+qc of this run has 'ema'"),
        ("qc.json", {"stages": ["bn"], "epochs": None, "lr": None},
         "stages of qc.json is ('bn',), ema+qc of this run has ('qc',)"),
        ("qc.json", {"trained": ["beta"]}, "trained of qc.json is ['beta'], ema+qc of this run has ['beta', 'gamma']"),
    ],
)  # fmt: skip
def test_inputs_that_contradict_the_summary_or_one_another_are_found_though_hashes_agree(
    planted, name, changes, expected
):
    run = planted.parent.parent / "run"
    edit(run / name, **changes)
    edit(run / "qc.json", inputs__0__sha256=qat_artifacts.sha256_file(run / "run.json"))
    if "training__epochs" in changes:
        edit(planted, training__epochs=12)
    rehash(planted)
    assert expected in found(planted).contradicted


def test_metrics_that_changed_after_their_run_was_recorded_are_found(planted):
    metrics = planted.parent.parent / "run" / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace("0.22", "0.26"))
    rehash(planted)
    assert found(planted).contradicted == ("metrics.jsonl is not the file that run.json records (SHA-256 differs)",)


def test_a_correction_of_an_earlier_state_of_the_run_is_found(planted):
    edit(planted.parent.parent / "run" / "qc.json", inputs__0__sha256="0" * 64)
    rehash(planted)
    assert found(planted).contradicted == ("run.json is not the file that qc.json records (SHA-256 differs)",)


@pytest.mark.parametrize(("name", "held"), [("run.json", "metrics.jsonl"), ("qc.json", "run.json")])
def test_inputs_that_record_no_hash_of_one_another_keep_it_open(planted, name, held):
    run = planted.parent.parent / "run"
    edit(run / name, inputs=[])
    edit(run / "qc.json", inputs=[] if name == "qc.json" else [reference(run / "run.json", "qat-train/run")])
    rehash(planted)
    assert found(planted).absent == (f"{name} records no hash of {held}",)


def test_a_second_file_of_a_kind_is_found(planted):
    run = planted.parent.parent / "run"
    (run / "better.jsonl").write_text((run / "metrics.jsonl").read_text())
    inputs = json.loads(planted.read_text())["inputs"]
    edit(planted, inputs=[*inputs, reference(run / "better.jsonl", "file", "../run/")])
    assert found(planted).contradicted == ("its header names 2 files of metrics",)


def test_metrics_that_are_not_those_of_the_run_are_found(planted):
    run = planted.parent.parent / "run"
    (run / "better.jsonl").write_text((run / "metrics.jsonl").read_text())
    edit(planted, inputs__1=reference(run / "better.jsonl", "file", "../run/"))
    assert found(planted).contradicted == ("better.jsonl is not the metrics.jsonl of its run.json",)


def test_a_corrected_method_needs_its_correction_whatever_its_history_holds(planted):
    content = json.loads(planted.read_text())
    history = content["metrics"]["history"][:-1]
    edit(planted, inputs=content["inputs"][:2], metrics__history=history, metrics__final_value=0.4)
    assert found(planted).absent == ("its header names no correction",)


def test_a_run_that_diverged_needs_no_correction_and_not_all_epochs(planted):
    run = planted.parent.parent / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][:4]
    lines[-1] |= {"raw": None, "ema": None}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    edit(run / "run.json", inputs=[reference(run / "metrics.jsonl")])
    history = json.loads(planted.read_text())["metrics"]["history"][:4]
    history[-1] |= {"value": None, "weights_sha256": None}
    edit(planted, inputs=json.loads(planted.read_text())["inputs"][:2], metrics__history=history)
    rehash(planted)
    assert found(planted).absent == found(planted).contradicted == ()


def test_keys_and_blocks_that_a_newer_minor_adds_are_no_contradiction(planted):
    run = planted.parent.parent / "run"
    edit(run / "run.json", oscillation={"total": {}}, training__interventions={"dampening": 0.1}, version="1.7")
    edit(run / "qc.json", batch_norms=3, inputs=[reference(run / "run.json", "qat-train/run")])
    edit(planted, oscillation=None, training__interventions={"dampening": 0.1}, method__qc__stages=["qc"])
    edit(planted, version="1.7", method__qc__trained=["gamma", "beta"])
    rehash(planted)
    assert found(planted) == Verification()


@pytest.mark.parametrize(
    ("name", "series", "stages", "trained"),
    [
        ("baseline", "raw", (), ()),
        ("bn", "raw", ("bn",), ()),
        ("ema", "ema", (), ()),
        ("ema+qc", "ema", ("qc",), ("beta", "gamma")),
        ("ema+bn+qc", "ema", ("bn", "qc"), ("beta", "gamma")),
        ("ema+qc-beta", "ema", ("qc",), ("beta",)),
        ("learned+ema+bn", "ema", ("bn",), ()),
        ("paper", "raw", (), ()),
    ],
)
def test_a_name_says_which_weights_a_row_reports_and_how_they_were_corrected(name, series, stages, trained):
    assert row_of(name) == Row(series=series, stages=stages, trained=trained)


def test_epochs_that_are_not_counted_from_1_are_found(planted):
    run = planted.parent.parent / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line["epoch"] += 1
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    edit(run / "run.json", inputs=[reference(run / "metrics.jsonl")])
    edit(run / "qc.json", inputs=[reference(run / "run.json", "qat-train/run")])
    rehash(planted)
    assert "the epochs of the metrics are not counted from 1: [2, 3, 4, 5, 6, 7]" in found(planted).contradicted
