"""A summary is held against the files it was made from."""

import hashlib
import json

import pytest

import qat_artifacts
from qat_gate import read_summaries, verify

VALUES = (0.10, 0.22, 0.31, 0.35, 0.38, 0.40)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def value(x, name):
    return {"map50_95": x, "weights_sha256": digest(name)}


@pytest.fixture
def planted(tmp_path, raw):
    """A run, its correction and its summary as files; returns the summary's path."""
    run = tmp_path / "run"
    run.mkdir()
    metrics = run / "metrics.jsonl"
    lines = [
        {"epoch": e, "raw": value(x - 0.05, f"raw{e}"), "ema": value(x, f"{e}"), "events": []}
        for e, x in enumerate(VALUES, start=1)
    ]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    summary = raw(values=(*VALUES, 0.41))
    summary["metrics"]["history"][-1]["stage"] = "qc"
    header = {"version": "1.0", "created_by": "test 1", "inputs": []}
    body = {key: summary[key] for key in ("model", "quantization", "dataset", "training", "versions", "trajectory_id")}
    references = {"fp32": value(0.44, "fp32"), "ptq": value(0.07, "ptq")}
    record = {"run_id": "yolo10n-w4-seed0", "events": [], "references": references}
    (run / "run.json").write_text(json.dumps({"schema": "qat-train/run", **header, **body, **record}))
    qc = {"run_id": "yolo10n-w4-seed0", "weights": "ema", "after": value(0.41, "7")}
    (run / "qc.json").write_text(json.dumps({"schema": "qat-qc/correction", **header, **qc}))
    file = tmp_path / "summary" / "run_summary.json"
    file.parent.mkdir()
    inputs = [
        {"schema": schema, "path": f"../run/{name}", "sha256": qat_artifacts.sha256_file(run / name)}
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
        block[last] = new
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
        ({"method__ema__enabled": False}, "history at epoch 1 is 0.1 (qat), the inputs say 0.05 (qat)"),
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
    edit(planted, inputs__1__sha256=qat_artifacts.sha256_file(run))
    (text,) = found(planted).contradicted
    assert text.startswith("an input cannot be read: ")
