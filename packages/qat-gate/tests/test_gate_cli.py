"""`qat-gate check`: files in, gate.json and exit code out."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import qat_artifacts
from qat_gate import Decision
from qat_gate.cli import FAILURES, cli

VERSION = importlib.metadata.version("qat-gate")
GOLDEN = Path(__file__).parent / "golden"
METHODS = ("baseline", "ema", "ema+qc")


def check(*arguments):
    """Run the command as the entry point does; returns exit code and stdout."""
    result = CliRunner().invoke(cli, ["check", *map(str, arguments)], standalone_mode=False)
    code = qat_artifacts.run_command(lambda: _outcome(result), FAILURES)
    return code, result.stdout


def _outcome(result):
    if result.exception is not None:
        raise result.exception
    return result.return_value


@pytest.fixture
def root(raw, save):
    """A run root with everything a GO needs, and a gated variant that was refused."""
    runs = [raw(v, m, s) for v in ("yolo10n", "yolo10s") for m in METHODS for s in (0, 1)]
    return save(*runs, raw("yolo10m", "baseline", 0, values=(), status="refused"))


def test_go_exits_0_and_writes_the_decision_with_every_input(tmp_path, root):
    out = tmp_path / "gate.json"
    code, _ = check("--policy", GOLDEN / "policy.toml", "--out", out, root)
    assert code == 0
    assert qat_artifacts.read(out, Decision).passed
    inputs = qat_artifacts.read_header(out).inputs
    assert len(inputs) == 13  # 12 summaries and the policy; the gated variant is no evidence
    assert {ref.schema for ref in inputs} == {"qat-report/run-summary", "file"}
    assert all((tmp_path / ref.path).is_file() for ref in inputs)


def test_no_go_exits_4_and_names_every_unmet_rule(tmp_path, root):
    shutil.rmtree(root / "yolo10s" / "ema-qc" / "seed1")
    code, text = check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", root)
    assert code == 4
    assert text.splitlines()[0] == (
        "yolo10m_allowed: NO-GO: 1 of 6 rules are not met. "
        "2-seeds: there is no run of yolo10s ema+qc seed 1 (and 1 more)."
    )
    assert not qat_artifacts.read(tmp_path / "gate.json", Decision).passed


def test_an_empty_root_is_a_no_go_not_an_error(tmp_path, save):
    code, text = check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", save())
    assert code == 4
    assert "missing: there is no run of yolo10n ema+qc" in text


def test_text_shows_each_rule_with_reason_runs_and_remedy(tmp_path, root):
    shutil.rmtree(root / "yolo10s" / "ema-qc" / "seed1")
    _, text = check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", root)
    assert text.split("\n\n")[3] == (
        "[NOT MET] 2-seeds: At least 2 seeds (3 recommended) of ema+qc for each of yolo10n, yolo10s\n"
        "    why: one run shows nothing\n"
        "    runs: yolo10n-w4-seed0/ema+qc, yolo10n-w4-seed1/ema+qc, yolo10s-w4-seed0/ema+qc\n"
        "    missing: there is no run of yolo10s ema+qc seed 1\n"
        "    insufficient-evidence: yolo10s ema+qc has 1 independent seed(s), 2 are needed\n"
        "    satisfied by: 2 seeds or more of ema+qc that ran to their end, for every variant "
        "(yolo10n has 2, yolo10s has 1); 3 are recommended"
    )


def test_rows_of_one_trajectory_are_shown_together(tmp_path, root):
    _, text = check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", root)
    assert text.splitlines()[6] == "    runs: " + ", ".join(
        f"yolo10{variant}-w4-seed{seed}/{{baseline, ema, ema+qc}}" for variant in "ns" for seed in (0, 1)
    )


def test_json_is_one_document_and_equals_the_file(tmp_path, root):
    code, text = check("--json", "--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", root)
    assert code == 0
    written = json.loads((tmp_path / "gate.json").read_text(encoding="utf-8"))
    assert json.loads(text).items() <= written.items()
    assert set(written) - set(json.loads(text)) == {"schema", "version", "created_by", "inputs"}


def test_files_and_folders_may_be_mixed_and_a_file_named_twice_counts_once(tmp_path, root):
    file = root / "yolo10n" / "ema" / "seed0" / "run_summary.json"
    assert check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", file, root, root)[0] == 0


def test_an_admitted_run_is_shouted(tmp_path, raw, save, root):
    cut = raw("yolo10n", "ema+qc", 1, status="incomplete", values=(0.1, 0.2, 0.3, 0.31, 0.3))
    policy = tmp_path / "policy.toml"
    text = (GOLDEN / "policy.toml").read_text(encoding="utf-8")
    policy.write_text(f'include = ["{cut["run_id"]}"]\n{text}', encoding="utf-8")
    code, text = check("--policy", policy, "--out", tmp_path / "gate.json", save(cut))
    assert code == 0
    assert "ADMITTED ALTHOUGH INCOMPLETE: yolo10n-w4-seed1/ema+qc" in text.splitlines()


def test_duplicate_run_ids_exit_3_and_name_both_files(tmp_path, root, raw, save, capsys):
    other = save(raw("yolo10n", "ema", 0), root="other")
    code, _ = check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", root, other)
    assert code == 3
    assert capsys.readouterr().err == (
        f"error: run id 'yolo10n-w4-seed0/ema' occurs twice: in {other}/yolo10n/ema/seed0/run_summary.json "
        f"and in {root}/yolo10n/ema/seed0/run_summary.json; give each run once\n"
    )
    assert not (tmp_path / "gate.json").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"version": "2.0"}, "qat-report/run-summary 2.0 written by qat-report 0.1.0, this program reads 1.x"),
        ({"status": "done"}, "status: done not in literal"),
        ({"metrics__final_value": "0.4"}, "metrics.final_value: expected a finite number, found str '0.4'"),
        ({"training__epochs": 6.0}, "training.epochs: expected int, found float 6.0"),
        ({"schema": "qat-train/run"}, "schema 'qat-report/run-summary' is expected, found 'qat-train/run'"),
    ],
)
def test_an_unreadable_summary_exits_3_and_names_file_and_field(tmp_path, raw, save, capsys, changes, expected):
    root = save(raw(**changes))
    code, _ = check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", root)
    assert code == 3
    assert f"error: {root}/yolo10n/ema-qc/seed0/run_summary.json: {expected}" in capsys.readouterr().err


def test_a_wrong_policy_exits_2(tmp_path, root, capsys):
    policy = tmp_path / "gate.toml"
    policy.write_text("gate = 1", encoding="utf-8")
    assert check("--policy", policy, "--out", tmp_path / "gate.json", root)[0] == 2
    assert "unknown field 'gate' (did you mean 'gate_name'?), allowed: gate_name, variants" in capsys.readouterr().err


def plan_of(folder, *cells):
    folder.mkdir(exist_ok=True)
    named = [dict(zip(("variant", "method", "seed"), cell, strict=True)) for cell in cells]
    header = {"schema": "ladder/plan", "version": "1.0", "created_by": "test 1", "inputs": []}
    (folder / "ladder.json").write_text(json.dumps(header | {"cells": named}))
    return folder / "ladder.json"


def test_every_plan_counts(tmp_path, root):
    plans = [plan_of(tmp_path / name, ("yolo10s", "ema+qc", seed)) for name, seed in (("a", 7), ("b", 8))]
    options = [argument for plan in plans for argument in ("--plan", plan)]
    code, text = check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", *options, root)
    assert code == 4
    assert "missing: there is no run of yolo10s ema+qc seed 7" in text
    assert "missing: there is no run of yolo10s ema+qc seed 8" in text
    paths = {ref.path for ref in qat_artifacts.read_header(tmp_path / "gate.json").inputs}
    assert {"a/ladder.json", "b/ladder.json"} <= paths


def test_a_lost_run_is_missing_though_a_summary_has_its_seed(tmp_path, root):
    lost = ["--lost", "yolo10s/ema+qc/1", "--lost", "yolo10n/dampening/9"]
    code, text = check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", *lost, root)
    assert code == 4
    assert "missing: yolo10s ema+qc seed 1 was planned or begun in a run root that holds no summary of it" in text
    assert "seed 9" not in text


@pytest.mark.parametrize("value", ["yolo10s", "yolo10s/ema+qc", "yolo10s/ema+qc/x", "/ema/1", "a/b/c/1", "a/b/-1"])
def test_a_lost_run_that_is_no_cell_exits_2(tmp_path, root, capsys, value):
    code, _ = check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", "--lost", value, root)
    assert code == 2
    assert f"'{value}' is not of the form VARIANT/METHOD/SEED" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("reason", ["", " ", "\t"])
def test_an_override_without_a_reason_exits_2(tmp_path, root, capsys, reason):
    code, _ = check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", "--override", reason, root)
    assert code == 2
    assert "the reason must not be blank" in capsys.readouterr().err
    assert not (tmp_path / "gate.json").exists()


def test_the_policy_that_decided_is_named_with_its_hash(tmp_path, root):
    policy = GOLDEN / "policy.toml"
    _, text = check("--policy", policy, "--out", tmp_path / "gate.json", root)
    line = f"decided by {policy}, SHA-256 {qat_artifacts.sha256_file(policy)}"
    assert f"note: {line}" in text.splitlines()
    assert line in qat_artifacts.read(tmp_path / "gate.json", Decision).notes


def test_a_path_that_is_not_there_exits_2(tmp_path):
    assert check("--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", tmp_path / "absent")[0] == 2


def test_golden_decision_is_what_the_command_writes(monkeypatch, raw, save):
    runs = [raw(v, m, s) for v in ("yolo10n", "yolo10s") for m in METHODS for s in (0, 1)]
    runs[-1] = raw("yolo10s", "ema+qc", 1, values=(0.1, 0.3, 0.4, 0.02, 0.01, 0.01), findings=["collapsed"])
    root = save(*runs[1:])
    shutil.copy(GOLDEN / "policy.toml", root)
    monkeypatch.chdir(root)
    assert check("--policy", "policy.toml", "--out", "gate.json", ".")[0] == 4
    golden = (GOLDEN / "decision-1.0.json").read_text(encoding="utf-8")
    assert (root / "gate.json").read_text(encoding="utf-8") == golden.replace("qat-gate 0.1.0", f"qat-gate {VERSION}")


def test_golden_decision_of_version_1_0_stays_readable():
    decision = qat_artifacts.read(GOLDEN / "decision-1.0.json", Decision)
    assert (decision.gate_name, decision.passed) == ("yolo10m_allowed", False)
    assert [criterion.id for criterion in decision.criteria if not criterion.met] == ["3-stability", "4-comparison"]


@pytest.mark.parametrize("statement", ["import qat_gate", "import qat_gate.cli"])
def test_importing_the_gate_loads_neither_torch_nor_numpy(statement):
    code = f"{statement}\nimport sys\nprint(sorted({{'torch', 'numpy', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_loads_neither_torch_nor_numpy_and_shows_an_example():
    code = (
        "import sys\nfrom qat_gate.cli import main\nsys.argv = ['qat-gate', 'check', '--help']\n"
        "try:\n    main()\nfinally:\n    print(sorted({'torch', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Example: qat-gate check --policy configs/gate.toml" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_the_installed_command_exits_4_from_the_shell(tmp_path, save):
    command = Path(sys.executable).with_name("qat-gate")
    arguments = ["check", "--policy", GOLDEN / "policy.toml", "--out", tmp_path / "gate.json", save()]
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "")
    assert "\x1b[" not in done.stdout
