"""The whole rung on real parts: 16 drawn images at 64 pixels, the shipped checkpoint, six epochs."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
METHODS = ("baseline", "ema", "ema-qc")


def invoke(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "invoke", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def tree_hash(folder):
    """Names, modes, times and bytes of everything below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        digest.update(f"{path.relative_to(folder)} {about.st_mode} {about.st_mtime_ns}\n".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def ladder(data, root, *more):
    flags = ("--profile", "tiny", "--seeds", "0", "--device", "cpu", "--coco-root", data, "--root", root)
    checkpoint = ROOT / "assets" / "yolov10n-demo.pt"
    return invoke("ladder.n", *flags, "--checkpoint", checkpoint, *more)


@pytest.fixture(scope="module")
def rung(data, tmp_path_factory):
    """A finished run root; the hash of the user's data before and after."""
    root = tmp_path_factory.mktemp("runs") / "ladder"
    before = tree_hash(data)
    done = ladder(data, root)
    assert done.returncode == 0, done.stderr
    return root, before, tree_hash(data), done


def summary(root, method, seed=0):
    return json.loads((root / "yolo10n" / method / f"seed{seed}" / "run_summary.json").read_text())


def numbers(root, method):
    found = summary(root, method)
    metrics = found["metrics"]
    history = [(p["epoch"], p["value"], p["weights_sha256"], p["stage"]) for p in metrics["history"]]
    return history, metrics["best_value"], metrics["final_value"], metrics["fp32"], metrics["ptq"]


def test_three_rows_come_from_one_trajectory(rung):
    root = rung[0]
    assert [p.name for p in (root / "trajectories" / "yolo10n").iterdir()] == ["shared"]
    found = [summary(root, m) for m in METHODS]
    assert {f["trajectory_id"] for f in found} == {"yolo10n/shared/seed0"}
    assert len({f["run_id"] for f in found}) == 3
    assert [len(f["metrics"]["history"]) for f in found] == [6, 6, 7]
    assert found[2]["metrics"]["history"][-1]["stage"] == "qc"


def test_the_baseline_reports_raw_weights_and_ema_others(rung):
    root = rung[0]
    lines = (root / "trajectories/yolo10n/shared/seed0/metrics.jsonl").read_text().splitlines()
    epochs = [json.loads(line) for line in lines]
    for method, series in (("baseline", "raw"), ("ema", "ema")):
        hashes = [p["weights_sha256"] for p in summary(root, method)["metrics"]["history"]]
        assert hashes == [e[series]["weights_sha256"] for e in epochs]
    assert all(e["raw"]["weights_sha256"] != e["ema"]["weights_sha256"] for e in epochs)
    assert all(summary(root, m)["evaluation"]["head"] == "one2one" for m in METHODS)


def test_final_and_corrected_weights_are_on_the_grid_and_the_ones_that_were_evaluated(rung):
    check_checkpoints(rung[0])


def check_checkpoints(root):
    """Load every checkpoint of a run root anew: on the grid, and with the hash that the summaries report."""
    from qat_train.checkpoint import load_checkpoint
    from qat_train.evaluator import hash_weights
    from qat_train.insertion import assert_on_grid

    run = root / "trajectories/yolo10n/shared/seed0"
    for method, folder, series in (
        ("baseline", "checkpoint", "raw"),
        ("ema", "checkpoint", "ema"),
        ("ema-qc", "qc/ema-qc", "corrected"),
    ):
        model, checkpoint = load_checkpoint(run / folder / "checkpoint.json", series)
        assert_on_grid(model, checkpoint.quantization.quantized_layers)
        assert hash_weights(model) == summary(root, method)["metrics"]["history"][-1]["weights_sha256"]


def test_the_users_data_are_as_they_were(rung):
    _, before, after, _ = rung
    assert before == after


def test_the_prepared_data_hold_against_their_record(rung):
    (folder,) = (p for p in (rung[0] / "data").iterdir() if (p / "dataset.json").exists())
    assert invoke("data.check", folder).returncode == 0


def test_every_artifact_is_valid_by_its_published_schema(rung):
    schemas = {}
    for path in (ROOT / "docs" / "schemas").glob("*.json"):
        document = json.loads(path.read_text())
        schemas[document["properties"]["schema"]["const"]] = jsonschema.Draft202012Validator(document)
    seen = set()
    for path in rung[0].rglob("*.json"):
        content = json.loads(path.read_text())
        if "schema" in content:
            schemas[content["schema"]].validate(content)
            seen.add(content["schema"])
    of_a_rung = {"qat-data/dataset", "qat-train/run", "qat-train/references", "qat-train/checkpoint", "ladder/plan"}
    of_a_rung |= {"qat-qc/correction", "qat-report/run-summary", "qat-report/comparison"}
    assert seen >= of_a_rung


def test_inputs_name_files_by_their_hash(rung):
    for path in rung[0].rglob("*.json"):
        for ref in json.loads(path.read_text()).get("inputs", []):
            target = path.parent / ref["path"]
            assert hashlib.sha256(target.read_bytes()).hexdigest() == ref["sha256"], (path, ref)


def test_the_plan_the_table_and_the_page_are_shown(rung):
    root, _, _, done = rung
    assert "estimate" in done.stderr
    assert "epoch 6/6" in done.stderr
    assert "| ema+qc |" in done.stdout
    assert done.stdout.strip().endswith(f"{root / 'index.html'}")
    assert (root / "index.html").stat().st_size > 10_000


def test_the_same_command_again_trains_nothing(rung, data):
    root = rung[0]
    log = root / "trajectories/yolo10n/shared/seed0/metrics.jsonl"
    before = log.stat().st_mtime_ns, numbers(root, "ema-qc")
    done = ladder(data, root)
    assert done.returncode == 0, done.stderr
    assert (log.stat().st_mtime_ns, numbers(root, "ema-qc")) == before


@pytest.fixture(scope="module")
def rows(rung, data):
    """Three more corrections of the trained run in the same root; the run itself before and after."""
    root = rung[0]
    run = root / "trajectories/yolo10n/shared/seed0/run.json"
    before = run.read_bytes()
    done = ladder(data, root, "--methods", "ema+bn,ema+qc-beta,ema+bn+qc")
    assert done.returncode == 0, done.stderr
    return root, before, run.read_bytes(), done


def test_other_corrections_of_a_finished_run_train_nothing(rows):
    root, before, after, done = rows
    assert before == after
    assert "batch norm statistics re-estimated" in done.stderr
    corrections = root / "trajectories/yolo10n/shared/seed0/qc"
    assert {p.name for p in corrections.iterdir()} == {"ema-qc", "ema-bn", "ema-qc-beta", "ema-bn-qc"}
    assert all(f"| {name} |" in done.stdout for name in ("ema+qc", "ema+bn", "ema+qc-beta", "ema+bn+qc"))
    found = [summary(root, name) for name in ("ema-bn", "ema-qc-beta", "ema-bn-qc")]
    assert {f["trajectory_id"] for f in found} == {"yolo10n/shared/seed0"}
    assert [len(f["metrics"]["history"]) for f in found] == [7, 7, 7]
    assert all(f["metrics"]["history"][:6] == summary(root, "ema")["metrics"]["history"] for f in found)


def correction(root, method):
    return json.loads((root / f"trajectories/yolo10n/shared/seed0/qc/{method}/qc.json").read_text())


def test_each_correction_did_what_its_name_says_and_no_more(rows):
    root = rows[0]
    bn, beta, both, qc = (correction(root, m) for m in ("ema-bn", "ema-qc-beta", "ema-bn-qc", "ema-qc"))
    assert [c["stages"] for c in (bn, beta, both, qc)] == [["bn"], ["qc"], ["bn", "qc"], ["qc"]]
    assert (bn["layers"], bn["steps"], bn["loss"], bn["folding"], bn["trained"]) == ([], 0, None, None, [])
    assert {(r["gamma_min"], r["gamma_max"]) for r in beta["layers"]} == {(1.0, 1.0)}
    assert any(r["beta_abs_max"] > 0 for r in beta["layers"])
    assert both["batch_norms"] == bn["batch_norms"] > 80
    skipped = {r["name"] for r in bn["skipped"]}
    assert "model.22.m.0.cv1.2.conv" in skipped  # a reparameterised RepVGGDW
    assert skipped == {r["name"] for r in both["skipped"]}
    assert len({c["before"]["weights_sha256"] for c in (bn, beta, both, qc)}) == 1
    assert len({c["after"]["weights_sha256"] for c in (bn, beta, both, qc)}) == 4


def test_fresh_statistics_are_all_that_changes(rows):
    import torch

    from qat_train.checkpoint import load_checkpoint
    from qat_train.evaluator import hash_weights
    from qat_train.insertion import assert_on_grid

    run = rows[0] / "trajectories/yolo10n/shared/seed0"
    before = load_checkpoint(run / "checkpoint/checkpoint.json", "ema")[0].state_dict()
    model, checkpoint = load_checkpoint(run / "qc/ema-bn/checkpoint.json", "corrected")
    assert_on_grid(model, checkpoint.quantization.quantized_layers)
    assert hash_weights(model) == correction(rows[0], "ema-bn")["after"]["weights_sha256"]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    means = {name for name in before if name.endswith("running_mean")}
    assert means <= changed
    assert {name.rpartition(".")[2] for name in changed} == {"running_mean", "running_var", "num_batches_tracked"}


def test_another_key_in_the_same_root_exits_2_with_both_values(rung, data):
    done = ladder(data, rung[0], "--set", "training.epochs=7")
    assert done.returncode == 2
    assert "training.epochs is 6 there and 7 now" in done.stderr
    assert "--root runs/NAME" in done.stderr


def test_the_gate_says_no_go_with_every_unmet_criterion(rung):
    root = rung[0]
    done = invoke("gate.m", "--root", root)
    assert done.returncode == 4, done.stderr
    decision = json.loads((root / "gate.json").read_text())
    assert decision["passed"] is False
    assert {r["kind"] for c in decision["criteria"] if not c["met"] for r in c["reasons"]} >= {"missing"}
    assert "yolo10s" in done.stdout


def test_status_lists_every_cell(rows):
    done = invoke("ladder.status", "--root", rows[0])
    assert done.returncode == 0
    assert len(done.stdout.strip().splitlines()) == 1 + 6
    assert "6 of 6 cells done" in done.stdout


def test_separate_trajectories_give_the_same_numbers_bit_for_bit(rung, data, tmp_path):
    done = ladder(data, tmp_path / "separate", "--trajectory", "separate")
    assert done.returncode == 0, done.stderr
    runs = tmp_path / "separate" / "trajectories" / "yolo10n"
    assert {p.name for p in runs.iterdir()} == {"baseline", "ema", "ema-qc"}
    assert json.loads((runs / "baseline/seed0/run.json").read_text())["ema"]["enabled"] is False
    for method in METHODS:
        assert numbers(tmp_path / "separate", method) == numbers(rung[0], method), method


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("ladder.n", "--seeds", "0,x"), 2, "--seeds '0,x': expected integers"),
        (("ladder.n", "--methods", "emaqc"), 2, "did you mean ema-qc"),
        (("ladder.n", "--profile", "demmo"), 2, "did you mean demo"),
        (("ladder.n", "--set", "training.epochz=3"), 2, "training.epochz: unknown key (did you mean epochs?)"),
        (("ladder.n", "--methods", "ema+qc", "--set", "quantization.bits=32"), 2, "has nothing to correct"),
        (("ladder.n", "--resume", "sometimes"), 2, "expected one of auto, never, must"),
        (("report", "--root", "nowhere"), 2, "holds no run summary"),
        (("ladder.n", "--coco-root", "nowhere"), 3, "is this a COCO root?"),
        (("data.check", "nowhere"), 3, "no such file or folder"),
        (("data.check", "--help"), 2, "`invoke --help data.check` prints the help"),
        (("data.prepare", "--help"), 2, "`invoke --help data.prepare` prints the help"),
        (("doctor", "--set", "data.train_jsn=x"), 2, "data.train_jsn: unknown key (did you mean train_json?)"),
    ],
)
def test_wrong_calls_have_their_exit_codes(arguments, code, text, tmp_path):
    root = ("--root", tmp_path / "r") if arguments[0].startswith("ladder") else ()
    done = invoke(*arguments, *root)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_finds_the_demo_complete_and_names_what_is_missing(tmp_path):
    done = invoke("doctor", "--json", "--root", tmp_path)
    found = json.loads(done.stdout)
    assert {f["name"] for f in found["findings"]} >= {"python", "torch", "device", "disk", "weights", "data"}
    assert found["ok"] == (done.returncode == 0)
    done = invoke("doctor", "--coco-root", tmp_path, "--checkpoint", tmp_path / "none.pt", "--root", tmp_path)
    assert done.returncode == 7
    assert "none.pt is missing" in done.stdout
    assert "instances_train2017.json" in done.stdout
    named = ("--set", "data.train_json=mine.json")
    done = invoke("doctor", "--coco-root", tmp_path, "--root", tmp_path, *named)
    assert f"{tmp_path}/mine.json" in done.stdout
    assert "--set data.train_json=FILE, data.train_dir, data.val_json, data.val_dir" in done.stdout


@pytest.mark.gpu
def test_a_rung_at_640_pixels_under_amp_keeps_grid_and_hash(data, tmp_path):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    root = tmp_path / "gpu"
    settings = ("training.imgsz=640", "training.amp=true", "training.epochs=2")
    flags = [part for text in settings for part in ("--set", text)]
    checkpoint = ROOT / "assets" / "yolov10n-demo.pt"
    common = ("--profile", "tiny", "--seeds", "0", "--device", "0", "--coco-root", data, "--root", root)
    done = invoke("ladder.n", *common, "--checkpoint", checkpoint, *flags)
    assert done.returncode == 0, done.stderr
    found = summary(root, "baseline")
    assert (found["training"]["amp"], found["model"]["imgsz"]) == (True, 640)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") != ""
    check_checkpoints(root)
