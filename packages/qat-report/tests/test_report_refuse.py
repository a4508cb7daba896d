"""A run that the gate refused leaves a summary all the same: what was asked for, and why it was not started."""

import json

import pytest

import qat_artifacts
from qat_report import ReportError, RunSummary, compare, refuse


@pytest.fixture
def refused(tmp_path, write_row):
    """Evidence, a NO-GO over it and a request, as files; returns (root, request.json, gate.json)."""
    root = tmp_path / "root"
    row = {"variant": "yolo10n", "method": "ema+qc", "seed": 0, "history": [0.1, 0.2, 0.3, 0.35, 0.4],
           "qc": 0.41, "class": "stable"}  # fmt: skip
    folder = write_row(root, row)
    evidence = json.loads((folder / "run_summary.json").read_text())
    header = {"version": "1.0", "created_by": "qat-ladder 0.1.0", "inputs": []}
    keep = ("created_at", "git", "model", "quantization", "dataset", "training", "versions")
    asked = {key: evidence[key] for key in keep} | {
        "run_id": "yolo10m", "method": "ema+qc", "averaged": True, "corrected": True,
        "evaluation": {k: v for k, v in evidence["evaluation"].items() if k != "weights_sha256"},
    }  # fmt: skip
    asked["model"] |= {"variant": "yolo10m", "checkpoint": "yolov10m.pt", "checkpoint_sha256": None}
    asked["dataset"] |= {"fingerprint": None, "val_fingerprint": None}
    request = root / "yolo10m" / "request.json"
    request.parent.mkdir()
    request.write_text(json.dumps({"schema": "ladder/request", **header, **asked}))
    reason = {"kind": "missing", "text": "there is no run of yolo10s ema+qc", "runs": []}
    gate = root / "gate.json"
    decision = {
        "gate_name": "yolo10m_allowed", "passed": False, "reason": "1 of 1 rules are not met", "override": None,
        "notes": ["structure: yolo10m lacks RepVGGDW"],
        "criteria": [{"id": "2-seeds", "text": "two seeds", "met": False, "reasons": [reason]}],
    }  # fmt: skip
    gate.write_text(json.dumps({"schema": "qat-gate/decision", **header, **decision}))
    return root, request, gate


def test_the_summary_has_status_refused_no_numbers_and_the_reasons(refused):
    root, request, gate = refused
    refuse(request, gate=gate, out=root / "yolo10m")
    found = qat_artifacts.read(root / "yolo10m" / "run_summary.json", RunSummary)
    assert (found.status, found.stability.run_class, found.model.variant) == ("refused", "refused", "yolo10m")
    assert (found.metrics.best_value, found.metrics.final_value, found.metrics.history) == (None, None, ())
    assert found.stability.collapsed
    assert found.stability.reasons == ("2-seeds: missing: there is no run of yolo10s ema+qc",)
    assert found.error == "refused by yolo10m_allowed: missing"
    assert found.dataset.fingerprint == "not prepared"
    paths = {ref.path for ref in qat_artifacts.read_header(root / "yolo10m" / "run_summary.json").inputs}
    assert paths == {"request.json", "../gate.json"}


def test_the_page_says_refused_and_why(refused):
    root, request, gate = refused
    refuse(request, gate=gate, out=root / "yolo10m")
    page = (root / "yolo10m" / "summary.md").read_text()
    assert "**refused** (refused)" in page
    assert "NO-GO: 1 of 1 rules are not met" in page
    assert "there is no run of yolo10s ema+qc" in page
    assert "structure: yolo10m lacks RepVGGDW" in page


def test_a_comparison_holds_the_refused_run_and_no_number_of_it(refused):
    root, request, gate = refused
    refuse(request, gate=gate, out=root / "yolo10m")
    comparison = compare([root], out=root, gate=gate)
    row = next(row for row in comparison.rows if row.variant == "yolo10m")
    assert (row.run_class, row.final_value) == ("refused", None)
    assert not comparison.yolo10m_allowed.passed
    html = (root / "index.html").read_text()
    assert "refused" in html
    assert 'href=""' not in html


def test_a_go_refuses_nothing(refused):
    root, request, gate = refused
    gate.write_text(gate.read_text().replace('"passed": false', '"passed": true'))
    with pytest.raises(ReportError, match="says GO; there is nothing to refuse"):
        refuse(request, gate=gate, out=root / "yolo10m")
    assert not (root / "yolo10m" / "run_summary.json").exists()


def test_an_override_is_shown_in_red_and_leaves_the_decision(refused):
    root, _, gate = refused
    gate.write_text(gate.read_text().replace('"override": null', '"override": "the cluster is free"'))
    comparison = compare([root / "yolo10n"], out=root, gate=gate)
    assert (comparison.yolo10m_allowed.passed, comparison.yolo10m_allowed.override) == (False, "the cluster is free")
    assert '<p class="against">OVERRIDDEN: the cluster is free</p>' in (root / "index.html").read_text()
    assert "OVERRIDDEN: the cluster is free" in (root / "summary.md").read_text()


def test_a_run_that_was_started_against_the_gate_says_so_on_every_page(refused, write_row):
    root, _, _ = refused
    row = {"variant": "yolo10m", "method": "ema+qc", "seed": 0, "history": [0.1, 0.2, 0.3, 0.35, 0.4], "qc": 0.41,
           "class": "stable", "set": {"training.overrides": {"gate.override": "a trial"}}}  # fmt: skip
    write_row(root, row)
    comparison = compare([root], out=root)
    assert "STARTED AGAINST THE GATE: a trial" in [n for r in comparison.rows for n in r.notes]
    assert (
        '<p class="against">STARTED AGAINST THE GATE: yolo10m/seed0/ema+qc: a trial</p>'
        in (root / "index.html").read_text()
    )


def test_a_refused_method_names_the_stages_it_would_have_had(refused):
    root, request, gate = refused
    found = refuse(request, gate=gate, out=root / "yolo10m")
    assert (found.method.qc.enabled, found.method.qc.stages, found.method.qc.trained) == (True, ("qc",), ())
    document = json.loads(request.read_text()) | {"method": "ema+bn"}
    request.write_text(json.dumps(document))
    found = refuse(request, gate=gate, out=root / "yolo10m")
    assert (found.method.qc.enabled, found.method.qc.stages) == (False, ("bn",))
