import json
import re
from pathlib import Path

import pytest

import qat_artifacts
from qat_report import ReportError, RequestError, RunSummary, classify, compare, read_series, summarize

FIXTURES = Path(__file__).parent / "fixtures"
METRICS = FIXTURES / "run" / "metrics.jsonl"


def metric_lines(count=6, **last):
    lines = METRICS.read_text(encoding="utf-8").splitlines()[:count]
    if last:
        lines[-1] = json.dumps(json.loads(lines[-1]) | last)
    return lines


REQUIRED = {
    "": "run_id created_at git model quantization method dataset training artifacts metrics stability status error",
    "git": "commit branch dirty",
    "model": "variant checkpoint imgsz",
    "quantization": "mode library weight_bit_width activation_bit_width",
    "method": "variant ema qc",
    "dataset": "coco_root dataset_yaml train_images val_images",
    "training": "framework epochs batch seed device amp overrides",
    "artifacts": "run_root results_csv",
    "metrics": "primary_name best_value final_value",
    "stability": "collapse_threshold_ratio final_over_best_ratio collapsed",
}


def test_run_summary_has_every_required_key(run, tmp_path):
    summarize(run(), method="ema+qc", qc=tmp_path / "qc", out=tmp_path / "out")
    document = json.loads((tmp_path / "out/run_summary.json").read_text(encoding="utf-8"))
    assert (document["schema"], document["version"]) == ("qat-report/run-summary", "1.0")
    for block, keys in REQUIRED.items():
        assert set(keys.split()) - set(document[block] if block else document) == set()


def test_summary_names_the_hashes_of_its_sources(run, tmp_path):
    summarize(run(), method="ema+qc", qc=tmp_path / "qc", out=tmp_path / "out")
    header = qat_artifacts.read_header(tmp_path / "out/run_summary.json")
    assert [(ref.schema, ref.path) for ref in header.inputs] == [
        ("qat-train/run", "../run/run.json"),
        ("file", "../run/metrics.jsonl"),
        ("qat-qc/correction", "../qc/qc.json"),
    ]
    assert header.inputs[1].sha256 == qat_artifacts.sha256_file(tmp_path / "run/metrics.jsonl")


def test_golden_summary_of_version_1_0_still_reads():
    found = qat_artifacts.read(FIXTURES / "run_summary-1.0.json", RunSummary)
    assert (found.metrics.final_value, found.stability.run_class, found.training.seed) == (0.375, "stable", 0)


def test_baseline_reports_the_raw_series_without_ema(run, tmp_path):
    found = summarize(run(), method="baseline", out=tmp_path / "out")
    assert [point.value for point in found.metrics.history] == [0.125, 0.25, 0.3125, 0.34375, 0.359375, 0.375]
    assert (found.method.ema.enabled, found.method.ema.decay, found.method.qc.enabled) == (False, None, False)
    assert (found.run_id, found.trajectory_id) == ("n/seed0/baseline", "n/seed0")
    assert (found.status, found.stability.run_class, found.error) == ("completed-success", "stable", None)
    assert (found.metrics.fp32, found.metrics.ptq) == (0.4375, 0.0625)


def test_ema_reports_the_averaged_series(run, tmp_path):
    found = summarize(run(), method="ema", out=tmp_path / "out")
    assert (found.metrics.final_value, found.metrics.best_epoch) == (0.390625, 6)
    assert (found.method.ema.enabled, found.method.ema.decay, found.method.ema.window_steps) == (True, 0.9375, 16.0)


def test_corrected_row_is_the_averaged_series_and_the_point_after_correction(run, tmp_path):
    found = summarize(run(), method="ema+qc", qc=tmp_path / "qc", out=tmp_path / "out")
    last = found.metrics.history[-1]
    assert len(found.metrics.history) == 7
    assert (last.epoch, last.value, last.stage) == (7, 0.40625, "qc")
    assert found.evaluation.weights_sha256 == last.weights_sha256
    assert (found.method.qc.enabled, found.method.qc.epochs, found.method.qc.lr) == (True, 1, 1e-4)
    assert found.versions["qat-qc"] == "0.2.0"
    assert found.artifacts.qc_json == "../qc/qc.json"


def test_another_method_names_its_series_and_what_it_sets(run, tmp_path):
    found = summarize(run(), method="my-arm", series="raw", sets=["training.epochs"], out=tmp_path / "out")
    assert (found.method.variant, found.method.sets, found.metrics.final_value) == (
        "my-arm",
        ("training.epochs",),
        0.375,
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "my-arm"}, "method 'my-arm' does not say which weights it reports; add --series raw or"),
        ({"method": "baseline", "series": "ema"}, "method 'baseline' reports the raw series, not ema; give the other"),
        ({"method": "ema", "qc": FIXTURES / "qc"}, "method 'ema' has no correction; leave --qc out or name a"),
    ],
)
def test_contradictory_request_is_refused(run, tmp_path, options, text):
    with pytest.raises(RequestError, match=f"^{re.escape(text)}"):
        summarize(run(), out=tmp_path / "out", **options)


def test_series_that_the_run_did_not_validate_is_named(run, tmp_path):
    folder = run(series=["raw"])
    text = f"{folder / 'run.json'}: method 'ema' reports the ema series, this run validated raw"
    with pytest.raises(ReportError, match=f"^{re.escape(text)}$"):
        summarize(folder, method="ema", out=tmp_path / "out")


def test_what_runs_made_before_it_existed_leave_out_has_its_default(run, tmp_path):
    found = summarize(run(), method="ema+qc", qc=tmp_path / "qc", out=tmp_path / "out")
    assert (found.training.interventions, found.oscillation) == ({}, None)
    assert (found.method.qc.stages, found.method.qc.trained) == (("qc",), ("gamma", "beta"))
    page = (tmp_path / "out/summary.md").read_text(encoding="utf-8")
    assert "| after QC | 0.4062 |" in page
    assert "| correction | QC of gamma and beta, 1 epoch, lr 0.0001 |" in page


BN = {"stages": ["bn"], "trained": [], "epochs": None, "lr": None, "batch_norms": 81, "bn_stats_fixed": False}


def test_re_estimation_alone_is_a_correction_that_is_not_called_qc(run, tmp_path):
    found = summarize(run(qc=BN), method="ema+bn", qc=tmp_path / "qc", out=tmp_path / "out")
    assert (found.method.qc.enabled, found.method.qc.stages, found.method.qc.trained) == (False, ("bn",), ())
    assert (found.method.qc.epochs, found.method.qc.lr, found.metrics.final_value) == (None, None, 0.40625)
    page = (tmp_path / "out/summary.md").read_text(encoding="utf-8")
    assert "| after BN | 0.4062 |" in page
    assert "| correction | BN statistics re-estimated |" in page


def test_both_stages_are_named(run, tmp_path):
    both = {"stages": ["bn", "qc"], "trained": ["gamma", "beta"], "batch_norms": 81}
    summarize(run(qc=both), method="ema+bn+qc", qc=tmp_path / "qc", out=tmp_path / "out")
    page = (tmp_path / "out/summary.md").read_text(encoding="utf-8")
    assert "| after BN + QC | 0.4062 |" in page
    assert "| correction | BN statistics re-estimated; then QC of gamma and beta, 1 epoch, lr 0.0001 |" in page


@pytest.mark.parametrize(
    ("method", "change", "text"),
    [
        ("ema+qc", BN, "its stages are bn, method 'ema+qc' has qc"),
        ("ema+bn", {}, "its stages are qc, method 'ema+bn' has bn"),
        ("ema+qc-beta", {}, "it trained gamma, beta, method 'ema+qc-beta' trains beta"),
        ("ema+qc", {"trained": ["gamma"]}, "it trained gamma, method 'ema+qc' trains gamma, beta"),
    ],
)
def test_correction_of_another_method_is_refused(run, tmp_path, method, change, text):
    folder = run(qc=change)
    with pytest.raises(ReportError, match=f"{re.escape(f'qc.json: {text}')}$"):
        summarize(folder, method=method, qc=tmp_path / "qc", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"stages": ["qc", "bn"]}, "stages ['qc', 'bn'] are neither bn nor qc nor bn, qc"),
        ({"stages": []}, "stages [] are neither bn nor qc nor bn, qc"),
        ({"stages": ["bn"], "trained": ["beta"]}, "stages ['bn'] and trained ['beta'] contradict each other"),
    ],
)
def test_correction_that_contradicts_itself_is_refused(run, tmp_path, change, text):
    folder = run(qc=change)
    with pytest.raises(qat_artifacts.InvalidArtifact, match=re.escape(text)):
        summarize(folder, method="ema+qc", qc=tmp_path / "qc", out=tmp_path / "out")


def test_known_arm_needs_no_series(run, tmp_path):
    raw = run(training__interventions={"dampening": 0.1})
    sets = ["training.interventions"]
    found = summarize(raw, method="dampening", sets=sets, out=tmp_path / "raw")
    assert (found.metrics.final_value, found.training.interventions) == (0.375, {"dampening": 0.1})
    assert summarize(raw, method="dampening+ema", sets=sets, out=tmp_path / "ema").metrics.final_value == 0.390625
    assert "| interventions | dampening 0.1 |" in (tmp_path / "raw/summary.md").read_text(encoding="utf-8")


def test_run_cut_off_before_its_correction_names_the_stages_to_come(run, tmp_path):
    found = summarize(run(status="running", lines=metric_lines(3)), method="ema+bn+qc", out=tmp_path / "out")
    assert (found.method.qc.stages, found.method.qc.trained) == (("bn", "qc"), ("gamma", "beta"))
    assert "| correction | none |" in (tmp_path / "out/summary.md").read_text(encoding="utf-8")


def moved(share, **counts):
    counts = {"switches": 7, "by_weight": 4, "by_scale": 3} | counts
    total = {"weights": 4608, "frequency": 0.01, "share": share, "distance": [0] * 10, **counts}
    return {"momentum": 0.01, "threshold": 0.02, "total": total, "layers": {"model.1.conv": total}}


def test_oscillation_is_that_of_the_last_epoch_that_has_one(run, tmp_path):
    lines = [json.loads(line) for line in metric_lines()]
    for line, share in zip(lines, (0.5, 0.25, 0.125, 0.125, 0.0625, None), strict=True):
        line["oscillation"] = None if share is None else moved(share)
    found = summarize(run(lines=map(json.dumps, lines)), method="ema", out=tmp_path / "out").oscillation
    assert (found.epoch, found.share, found.frequency, found.momentum, found.threshold) == (5, 0.0625, 0.01, 0.01, 0.02)
    assert (found.switches, found.by_weight, found.by_scale) == (7, 4, 3)
    page = (tmp_path / "out/summary.md").read_text(encoding="utf-8")
    assert "epoch 5: 6.25% of weights above 0.02, 7 switches (4 by weight, 3 by scale)" in page


def test_switches_that_do_not_add_up_are_refused(run, tmp_path):
    folder = run(lines=metric_lines(oscillation=moved(0.5, by_scale=4)))
    text = "4 switches by weight and 4 by scale are not 7 switches"
    with pytest.raises(qat_artifacts.InvalidArtifact, match=re.escape(text)):
        summarize(folder, method="ema", out=tmp_path / "out")


def test_control_in_floating_point_is_classified_without_ptq(run, tmp_path):
    quantization = {
        "mode": "fp32",
        "library": "none",
        "weight_bit_width": None,
        "activation_bit_width": None,
        "granularity": "per-channel",
        "scale": {"init": "mse", "learned": False},
        "policy": "default",
        "layers": [{"name": "model.0.conv", "type": "Conv2d", "bits": None, "elements": 432}],
    }
    folder = run(quantization=quantization, references__ptq=None)
    found = summarize(folder, method="fp32", sets=["quantization"], out=tmp_path / "out")
    assert (found.stability.run_class, found.metrics.ptq) == ("stable", None)
    assert found.stability.not_checked == ("no-signal: no PTQ reference is known, checked against FP32 alone",)
    page = (tmp_path / "out/summary.md").read_text(encoding="utf-8")
    assert "| quantization | none, floating point control |" in page


def test_correction_of_another_run_is_refused(run, tmp_path):
    folder = run(qc={"run_id": "n/seed1"})
    text = f"{tmp_path / 'qc/qc.json'}: corrects run 'n/seed1', not 'n/seed0' of {folder / 'run.json'}"
    with pytest.raises(ReportError, match=f"^{re.escape(text)}$"):
        summarize(folder, method="ema+qc", qc=tmp_path / "qc", out=tmp_path / "out")


def test_correction_of_other_weights_is_refused(run, tmp_path):
    folder = run(qc={"weights": "raw"})
    with pytest.raises(ReportError, match=r"started from the raw weights, method 'ema\+qc' reports ema$"):
        summarize(folder, method="ema+qc", qc=tmp_path / "qc", out=tmp_path / "out")


def test_completed_run_without_the_correction_its_method_names_is_refused(run, tmp_path):
    with pytest.raises(ReportError, match=r"method 'ema\+qc' needs a correction of this run; add --qc$"):
        summarize(run(), method="ema+qc", out=tmp_path / "out")


def test_row_whose_correction_failed_is_incomplete_and_says_why(run, tmp_path):
    out = tmp_path / "a" / "ema-qc"
    found = summarize(run(), method="ema+qc", out=out, failed="error: loss is nan (log.txt)")
    assert (found.status, found.stability.run_class) == ("incomplete", "incomplete")
    assert found.error == "no correction: error: loss is nan (log.txt)"
    made = compare([tmp_path / "a"], out=tmp_path / "out")
    assert made.verdict[0].startswith("yolo10n ema+qc: 0 of 1 seed stable (seed 0 incomplete). No final value counts.")
    assert made.rows[0].notes == (f"left out of the means: incomplete, {found.error}",)


@pytest.mark.parametrize(
    ("given", "method"),
    [({"status": "running"}, "ema+qc"), ({}, "ema"), ({"qc": {}}, "ema+qc")],
)
def test_correction_that_is_there_or_that_nobody_waits_for_did_not_fail(run, tmp_path, given, method):
    folder = run(**given)
    with pytest.raises(RequestError, match=r"^--failed: .*run\.json and method '.*' wait for no correction"):
        summarize(folder, method=method, qc=tmp_path / "qc" if "qc" in given else None, out=tmp_path / "o", failed="x")


def test_run_cut_off_is_incomplete_and_keeps_its_numbers(run, tmp_path):
    found = summarize(run(status="running", lines=metric_lines(3)), method="ema", out=tmp_path / "out")
    assert (found.status, found.stability.run_class, found.stability.collapsed) == ("incomplete", "incomplete", True)
    assert (found.metrics.best_value, found.metrics.final_value) == (0.296875, 0.296875)
    assert found.error == "the run was cut off after epoch 3 of 6"


def test_run_that_was_stopped_says_why_and_counts_as_no_stable_one(run, tmp_path):
    signs = "raw metric-fall for 2 epochs: 0.1000, below 0.8 x the best before, 0.4000"
    folder = run(status="running", lines=metric_lines(3))
    found = summarize(folder, method="ema", out=tmp_path / "a" / "ema", stopped=signs)
    assert (found.status, found.stability.run_class, found.stability.collapsed) == ("incomplete", "incomplete", True)
    assert found.error == f"stopped: doomed after epoch 3 of 6: {signs}"
    made = compare([tmp_path / "a"], out=tmp_path / "out")
    assert made.verdict[0].startswith("yolo10n ema: 0 of 1 seed stable (seed 0 incomplete). No final value counts.")
    note = f"left out of the means: incomplete, {found.error}"
    assert made.rows[0].notes == (note,)
    assert f"{found.run_id}: {note}" in made.notes


def test_run_that_ended_by_itself_was_not_stopped(run, tmp_path):
    with pytest.raises(RequestError, match=r"^--stopped: .*run\.json is completed: the run ended by itself$"):
        summarize(run(), method="ema", out=tmp_path / "out", stopped="raw metric-fall")


def test_run_cut_off_in_its_first_epoch_is_incomplete_without_numbers(run, tmp_path):
    folder = run(status="running")
    (folder / "metrics.jsonl").unlink()
    found = summarize(folder, method="ema+qc", out=tmp_path / "out")
    assert (found.status, found.metrics.history) == ("incomplete", ())
    assert (found.metrics.best_value, found.metrics.best_epoch, found.metrics.final_value) == (None, None, None)
    assert found.error == "the run was cut off after epoch 0 of 6; no correction: the run has no final weights"


def test_failed_run_keeps_its_error(run, tmp_path):
    found = summarize(run(status="failed", error="out of memory", lines=metric_lines(2)), method="ema", out=tmp_path)
    assert (found.status, found.error) == ("incomplete", "out of memory")


def test_diverged_run_is_completed_failed_in_every_row(run, tmp_path):
    fault = {"epoch": 4, "kind": "nan-weights", "detail": "not finite"}
    folder = run(
        lines=metric_lines(4, raw=None, ema=None, loss={"box": None}, events=[fault]),
        events=[fault],
        error="epoch 4: nan-weights after 3 rollbacks",
        files__checkpoint=None,
    )
    for method in ("baseline", "ema", "ema+qc"):
        found = summarize(folder, method=method, out=tmp_path / method)
        assert (found.status, found.stability.run_class) == ("completed-failed", "diverged")
        assert found.metrics.final_value is None


def test_events_of_a_run_that_was_cut_off_come_from_its_lines(run, tmp_path):
    fault = {"epoch": 3, "kind": "rollback", "detail": "1 of 3"}
    found = summarize(run(status="running", lines=metric_lines(3, events=[fault])), method="ema", out=tmp_path / "out")
    assert [event.kind for event in found.stability.events] == ["rollback"]


def test_completed_run_with_missing_epochs_is_refused(run, tmp_path):
    folder = run(lines=metric_lines(5))
    text = f"{folder / 'metrics.jsonl'}: 5 of 6 epochs, though {folder / 'run.json'} says completed"
    with pytest.raises(ReportError, match=f"^{re.escape(text)}$"):
        summarize(folder, method="ema", out=tmp_path / "out")


def test_metrics_that_are_not_those_the_run_was_written_with_are_refused(run, tmp_path):
    folder = run(inputs=[{"schema": "file", "sha256": "0" * 64, "path": "metrics.jsonl"}])
    with pytest.raises(ReportError, match=r"metrics.jsonl: not the file that .*run.json was written with"):
        summarize(folder, method="ema", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"epoch": 1', ":1: not valid JSON"),
        ('{"epoch": NaN}', ":1: not valid JSON: NaN is not allowed"),
        ("{}", ":1: epoch: required field 'epoch' is missing"),
        (metric_lines()[2], ":1: epoch 3, one line an epoch from 1 is expected"),
    ],
)
def test_wrong_line_of_metrics_is_named(run, tmp_path, line, text):
    with pytest.raises((ReportError, qat_artifacts.ArtifactError), match=re.escape(f"metrics.jsonl{text}")):
        summarize(run(lines=[line]), method="ema", out=tmp_path / "out")


def test_unknown_variant_becomes_other(run, tmp_path):
    assert summarize(run(model__variant="yolo11x"), method="ema", out=tmp_path / "out").model.variant == "other"


def test_results_csv_gives_the_same_series_and_class_as_the_summary(run, tmp_path):
    found = summarize(run(), method="ema+qc", qc=tmp_path / "qc", out=tmp_path / "out")
    series = read_series(tmp_path / "out/results.csv")
    assert [(p.epoch, p.value) for p in series.points] == [(p.epoch, p.value) for p in found.metrics.history]
    assert (series.events, series.notes) == ((), ())
    assert classify(found.metrics.history, fp32=0.4375, ptq=0.0625).stability_class == found.stability.run_class


def test_results_csv_has_the_columns_of_ultralytics(run, tmp_path):
    summarize(run(), method="baseline", out=tmp_path / "out")
    lines = (tmp_path / "out/results.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == (
        "epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,"
        "metrics/precision(B),metrics/recall(B),metrics/mAP50(B),metrics/mAP50-95(B)"
    )
    assert lines[2] == "2,20.0,1.25,1.5,1.0,0.5,0.75,0.5,0.25"


def test_summarizing_twice_gives_the_same_bytes(run, tmp_path):
    folder = run()
    for name in ("a", "b"):
        summarize(folder, method="ema", out=tmp_path / name)
    for name in ("run_summary.json", "summary.md", "results.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("metrics.final_value", 0.4, "metrics: final_value is 0.4, the history says 0.375"),
        ("metrics.best_value", 0.5, "metrics: best_value is 0.5, the history says 0.375"),
        ("metrics.fp32", 41.0, "metrics: fp32 41.0 is outside [0, 1]"),
        ("training.epochs", 0.9, "training.epochs: expected int, found float 0.9"),
        ("method.qc.enabled", True, "method.qc: enabled is True, the stages are []"),
        ("method.qc.stages", ["qc", "bn"], "method.qc: stages ['qc', 'bn'] are neither bn nor qc nor bn, qc"),
        (
            "metrics.history",
            [{"epoch": 1, "value": 0.375, "weights_sha256": None, "stage": "qc"}],
            "the history has a point after correction, method.qc.stages is empty",
        ),
        ("method.sets", ["dataset"], "method: a method cannot set dataset; it may set training.epochs"),
    ],
)
def test_summary_that_contradicts_itself_is_refused(edited_summary, field, value, text):
    with pytest.raises(qat_artifacts.InvalidArtifact, match=re.escape(text)):
        qat_artifacts.read(edited_summary({field: value}), RunSummary)
