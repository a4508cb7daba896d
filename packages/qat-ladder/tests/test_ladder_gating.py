"""The gated stage with the products replaced by scripts: what the gate is told, and what follows from its answer."""

import json
import shutil

import attrs
import pytest
import tomli

import qat_artifacts
from qat_ladder.asking import ask
from qat_ladder.errors import ConfigError
from qat_ladder.gating import evidence_of, judged_methods, run_gate, run_m
from qat_ladder.layout import Root
from qat_ladder.plan import read_plan
from qat_ladder.request import RunRequest
from qat_ladder.stage import run_stage


def kinds(calls):
    return [" ".join(c[:2]) for c in calls]


def option(call, name):
    return call[call.index(name) + 1]


def gate_call(calls):
    return next(c for c in calls if c[:2] == ["qat-gate", "check"])


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "m.pt"
    file.write_bytes(b"weights")
    return str(file)


@pytest.fixture
def m(request_for, weights):
    return request_for(variant="yolo10m", seeds=[0], checkpoint=weights)


def test_a_no_go_starts_nothing_and_leaves_a_refused_run(products, request_for, m, tmp_path, capsys):
    run_stage(request_for(seeds=[0]))
    products.calls()
    products.behave({"qat-gate check": 4})
    assert run_m(m) == 4
    calls = products.calls()
    assert kinds(calls) == ["qat-train layers", "qat-gate check", "qat-report refuse", "qat-report compare"]
    assert option(calls[2], "--out") == str(tmp_path / "runs" / "yolo10m")
    assert str(tmp_path / "runs" / "yolo10m") in calls[3]
    assert "NO-GO: yolov10m is not started" in capsys.readouterr().err
    assert {cell.variant for cell in read_plan(Root(m.root)).cells} == {"yolo10n"}


def test_the_gate_is_told_plan_policy_request_and_where_the_summaries_are(products, request_for, m, tmp_path):
    run_stage(request_for(seeds=[0]))
    products.calls()
    products.behave({"qat-gate check": 4})
    run_m(m)
    call = gate_call(products.calls())
    runs = tmp_path / "runs"
    assert option(call, "--plan") == str(runs / "ladder.json")
    assert option(call, "--policy") == str(m.project / "configs" / "gate.toml")
    assert option(call, "--out") == str(runs / "gate.json")
    assert call[-1] == str(runs / "yolo10n")
    asked = qat_artifacts.read(runs / "yolo10m" / "request.json", RunRequest)
    assert (asked.model.variant, asked.profile, asked.drawn) == ("yolo10m", "demo", True)
    assert asked.model.checkpoint_sha256 is not None
    assert asked.dataset.fingerprint == "ab" * 32
    assert (asked.method, asked.averaged, asked.corrected) == ("ema+qc", True, True)
    assert asked.quantization.layers[0].type == "Conv dense 3x3"


def test_a_floating_point_control_is_asked_for_as_its_record_will_say(products, request_for, weights, tmp_path):
    asked = request_for(variant="yolo10m", checkpoint=weights, settings=("interventions.distillation=0.5",))
    found = ask(asked.resolve("fp32"), Root(tmp_path / "runs"), seeds=[0], fingerprint="")
    block = found.quantization
    assert (block.mode, block.library, block.weight_bit_width, block.policy) == ("fp32", "none", None, "none")
    assert block.layers == ()
    assert found.training.interventions == {"distillation": 0.5}
    assert kinds(products.calls()) == []


def test_the_row_that_is_asked_for_is_the_first_with_a_correction(products, request_for, weights, tmp_path):
    run_stage(request_for(seeds=[0]))
    products.behave({"qat-gate check": 4})
    names = ["baseline", "bn", "ema+bn", "ema+qc", "ema+bn+qc"]
    run_m(request_for(variant="yolo10m", seeds=[0], checkpoint=weights, methods=names))
    assert qat_artifacts.read(tmp_path / "runs/yolo10m/request.json", RunRequest).method == "ema+qc"


def test_a_go_starts_the_stage_in_the_same_plan_and_clears_an_earlier_refusal(products, request_for, m, tmp_path):
    run_stage(request_for(seeds=[0]))
    products.behave({"qat-gate check": 4})
    run_m(m)
    products.behave({})
    products.calls()
    assert run_m(m) == 0
    assert "qat-train run" in kinds(products.calls())
    assert not (tmp_path / "runs" / "yolo10m" / "run_summary.json").exists()
    plan = read_plan(Root(m.root))
    assert {cell.variant for cell in plan.cells} == {"yolo10m", "yolo10n"}
    assert plan.gate_override is None


def test_an_override_is_recorded_in_plan_decision_and_every_run(products, request_for, m, tmp_path, capsys):
    run_stage(request_for(seeds=[0]))
    products.behave({"qat-gate check": 4})
    products.calls()
    assert run_m(m, override="a trial") == 0
    assert option(gate_call(products.calls()), "--override") == "a trial"
    assert "gate overridden: a trial" in capsys.readouterr().err
    assert read_plan(Root(m.root)).gate_override == "a trial"
    spec = tomli.loads((tmp_path / "runs/trajectories/yolo10m/shared/seed0/run.toml").read_text())
    assert spec["overrides"]["gate.override"] == "a trial"


def test_an_override_that_was_not_needed_is_not_held_against_the_runs(products, request_for, m, tmp_path):
    run_stage(request_for(seeds=[0]))
    assert run_m(m, override="just in case") == 0
    spec = tomli.loads((tmp_path / "runs/trajectories/yolo10m/shared/seed0/run.toml").read_text())
    assert "gate.override" not in spec["overrides"]


def test_an_empty_root_is_asked_about_and_refused_too(products, m, tmp_path):
    products.behave({"qat-gate check": 4})
    assert run_m(m) == 4
    call = gate_call(products.calls())
    assert "--plan" not in call
    assert call[-1] == str(tmp_path / "runs")
    asked = json.loads((tmp_path / "runs" / "yolo10m" / "request.json").read_text())
    assert asked["dataset"]["fingerprint"] is None


def test_evidence_of_another_root_is_held_against_prepared_data(products, request_for, m, tmp_path):
    run_stage(request_for(seeds=[0], root=tmp_path / "evidence"))
    products.behave({"qat-gate check": 4})
    products.calls()
    assert run_m(m, gate_root=str(tmp_path / "evidence")) == 4
    calls = products.calls()
    assert "qat-data prepare" in kinds(calls)
    call = gate_call(calls)
    assert option(call, "--plan") == str(tmp_path / "evidence" / "ladder.json")
    assert call[-1] == str(tmp_path / "evidence" / "yolo10n")
    asked = json.loads((tmp_path / "runs" / "yolo10m" / "request.json").read_text())
    assert asked["dataset"]["fingerprint"] == "ab" * 32


def options(call, name):
    return [call[i + 1] for i, argument in enumerate(call) if argument == name]


def put_summary(root, variant, method, seed, *, inputs=(), folder=None, claims=None):
    """A summary as the ladder reads it; `claims` replaces what it says of itself."""
    says = {"variant": variant, "method": method, "seed": seed} | (claims or {})
    body = {
        "schema": "qat-report/run-summary",
        "version": "1.0",
        "created_by": "test 1",
        "inputs": [{"schema": "file", "sha256": "0" * 64, "path": str(path)} for path in inputs],
        "model": {"variant": says["variant"]},
        "method": {"variant": says["method"]},
        "training": {"seed": says["seed"]},
    }
    file = (folder or root.summary(variant, method, seed)) / "run_summary.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(body))
    return file


@pytest.fixture
def planted(products, request_for, tmp_path):
    """A run root with two seeds of n, whole; returns it."""

    def plant(name, seeds=(0, 1), **flags):
        run_stage(request_for(seeds=list(seeds), root=tmp_path / name, **flags))
        root = Root(tmp_path / name)
        for cell in read_plan(root).cells:
            put_summary(root, cell.variant, cell.method, cell.seed)
        products.calls()
        return root

    return plant


SHIPPED = ("baseline", "ema", "ema+qc")  # the methods of configs/gate.toml


def test_a_whole_root_has_lost_nothing(planted):
    assert evidence_of(planted("runs"), SHIPPED).lost == ()


def test_methods_that_the_shipped_policy_is_about(project, tmp_path):
    assert sorted(judged_methods(project / "configs" / "gate.toml")) == sorted(SHIPPED)
    assert judged_methods(tmp_path / "absent.toml") == ()
    (tmp_path / "deep.toml").write_text(f"method = {'[' * 5000}{']' * 5000}\n")
    assert judged_methods(tmp_path / "deep.toml") == ()


def test_a_planned_cell_without_a_summary_is_lost(planted):
    root = planted("runs")
    shutil.rmtree(root.summary("yolo10n", "ema+qc", 1))
    assert evidence_of(root, SHIPPED).lost == ("yolo10n/ema+qc/1",)


def forget(root, seed):
    """Remove a seed's rows and its cells of the plan."""
    plan = read_plan(root)
    for cell in plan.cells:
        if cell.seed == seed:
            shutil.rmtree(root.summary(cell.variant, cell.method, cell.seed))
    cells = tuple(cell for cell in plan.cells if cell.seed != seed)
    qat_artifacts.write(root.plan, attrs.evolve(plan, cells=cells), created_by="test 1")


def test_a_training_run_that_rows_and_plan_forgot_is_lost(planted):
    root = planted("runs")
    forget(root, 1)
    assert evidence_of(root, SHIPPED).lost == ("yolo10n/baseline/1", "yolo10n/ema+qc/1", "yolo10n/ema/1")


def test_a_training_run_without_any_plan_is_lost(planted):
    root = planted("runs")
    forget(root, 1)
    root.plan.unlink()
    assert evidence_of(root, SHIPPED).lost == ("yolo10n/baseline/1", "yolo10n/ema+qc/1", "yolo10n/ema/1")


def test_a_forgotten_run_of_an_arm_of_its_own_is_lost_for_the_methods_of_that_arm(planted):
    root = planted("runs", methods=["ema+qc", "learned+ema"])
    forget(root, 1)
    assert "yolo10n/learned+ema/1" in evidence_of(root, ()).lost
    assert "yolo10n/ema+qc/1" in evidence_of(root, ()).lost


def test_a_forgotten_run_of_a_separate_trajectory_is_lost_for_its_method(planted):
    root = planted("runs", trajectory="separate")
    forget(root, 1)
    root.plan.unlink()
    assert evidence_of(root, SHIPPED).lost == ("yolo10n/baseline/1", "yolo10n/ema+qc/1", "yolo10n/ema/1")


@pytest.mark.parametrize("claims", [{"variant": "other"}, {"method": "mine"}, {"seed": 9}])
def test_a_summary_that_claims_to_be_another_cell_does_not_stand_for_its_own(planted, claims):
    root = planted("runs")
    put_summary(root, "yolo10n", "ema+qc", 1, claims=claims)
    assert evidence_of(root, SHIPPED).lost == ("yolo10n/ema+qc/1",)


def test_runs_of_the_gated_variant_are_not_lost_evidence(planted, m):
    root = planted("runs")
    assert run_m(m) == 0
    assert evidence_of(root, SHIPPED).lost == ()


def test_what_a_root_lost_is_told_to_the_gate(planted, products, m, project):
    root = planted("runs")
    forget(root, 1)
    lost = ["yolo10n/baseline/1", "yolo10n/ema+qc/1", "yolo10n/ema/1"]
    products.behave({"qat-gate check": 4})
    assert run_m(m) == 4
    assert options(gate_call(products.calls()), "--lost") == lost
    assert run_gate(root, project, ()) == 4
    assert options(gate_call(products.calls()), "--lost") == lost


def test_good_seeds_cannot_be_picked_from_roots_that_hold_others(planted, products, m):
    planted("runs")
    first, second = planted("first", seeds=(2, 3)), planted("second", seeds=(4, 5))
    forget(second, 5)
    shutil.rmtree(first.summary("yolo10n", "ema+qc", 3))
    picked = [root.summary("yolo10n", "ema+qc", k) / "run_summary.json" for root, k in ((first, 2), (second, 4))]
    products.behave({"qat-gate check": 4})
    assert run_m(m, gate_summaries=",".join(map(str, picked))) == 4
    call = gate_call(products.calls())
    roots = (Root(m.root), first, second)
    assert options(call, "--plan") == [str(root.plan) for root in roots]
    assert {str(root.path / "yolo10n") for root in roots} <= set(call)
    assert options(call, "--lost") == [
        "yolo10n/baseline/5", "yolo10n/ema+qc/3", "yolo10n/ema+qc/5", "yolo10n/ema/5",
    ]  # fmt: skip


def test_a_summary_that_was_copied_away_brings_the_root_of_its_inputs_with_it(planted, products, m, tmp_path):
    other = planted("other")
    inputs = [other.trajectory("yolo10n", "shared", 0) / "run.json"]
    alone = put_summary(other, "yolo10n", "ema+qc", 0, folder=tmp_path / "away", inputs=inputs)
    products.behave({"qat-gate check": 4})
    run_m(m, gate_summaries=str(alone))
    call = gate_call(products.calls())
    assert options(call, "--plan") == [str(other.plan)]
    assert str(other.path / "yolo10n") in call


def test_a_root_without_its_plan_is_found_by_its_training_runs(planted, products, m):
    other = planted("other")
    other.plan.unlink()
    shutil.rmtree(other.summary("yolo10n", "ema+qc", 1))
    products.behave({"qat-gate check": 4})
    run_m(m, gate_summaries=str(other.summary("yolo10n", "ema+qc", 0)))
    call = gate_call(products.calls())
    assert str(other.path / "yolo10n") in call
    assert options(call, "--lost") == ["yolo10n/ema+qc/1"]


def test_an_override_stays_in_every_later_decision_but_starts_nothing_by_itself(planted, products, m, project):
    root = planted("runs")
    products.behave({"qat-gate check": 4})
    assert run_m(m, override="a trial") == 0
    products.calls()
    assert run_gate(root, project, ()) == 4
    assert option(gate_call(products.calls()), "--override") == "a trial"
    assert run_m(m) == 4
    calls = products.calls()
    assert option(gate_call(calls), "--override") == "a trial"
    assert "qat-train run" not in kinds(calls)


@pytest.mark.parametrize("reason", [" ", "\t\n"])
def test_a_blank_reason_to_override_exits_2_before_anything_is_asked(products, m, reason):
    with pytest.raises(ConfigError, match="--override-gate: the reason must not be blank") as found:
        run_m(m, override=reason)
    assert found.value.code == 2
    assert products.calls() == []


def test_data_that_were_removed_are_still_asked_about_by_the_plans_fingerprint(planted, products, m, project):
    root = planted("runs")
    shutil.rmtree(root.path / "data")
    assert run_gate(root, project, ()) == 0
    asked = json.loads(root.request("yolo10m").read_text())
    assert asked["dataset"]["fingerprint"] == "ab" * 32


def test_summaries_may_be_named_one_by_one(products, m, tmp_path):
    file = tmp_path / "run_summary.json"
    file.write_text("{}")
    products.behave({"qat-gate check": 4})
    assert run_m(m, gate_summaries=f"{file}, {file}") == 4
    assert gate_call(products.calls())[-2:] == [str(file), str(file)]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"gate_root": "a", "gate_summaries": "b"}, "--gate-root and --gate-summaries: give one of them"),
        ({"gate_root": "nowhere"}, "--gate-root nowhere: there is no such folder"),
        ({"gate_summaries": "nowhere.json"}, r"--gate-summaries nowhere\.json: not there: nowhere\.json"),
        ({"gate_summaries": " , "}, "not there: no path is given"),
    ],
)
def test_wrong_evidence_flags_are_named_before_anything_is_asked(products, m, flags, text):
    with pytest.raises(ConfigError, match=text) as found:
        run_m(m, **flags)
    assert found.value.code == 2
    assert products.calls() == []


def test_keys_that_contradict_the_plan_are_found_before_the_gate_is_asked(products, request_for, m, weights):
    run_stage(request_for(seeds=[0]))
    products.calls()
    with pytest.raises(ConfigError, match=r"training\.imgsz is 160 there and 320 now"):
        run_m(request_for(variant="yolo10m", seeds=[0], checkpoint=weights, settings=("training.imgsz=320",)))
    assert products.calls() == []


def test_a_dry_run_shows_the_decision_and_writes_nothing(products, request_for, weights, tmp_path, capsys):
    run_stage(request_for(seeds=[0]))
    before = sorted((tmp_path / "runs").rglob("*"))
    products.behave({"qat-gate check": 4})
    assert run_m(request_for(variant="yolo10m", seeds=[0], checkpoint=weights, dry_run=True)) == 0
    assert sorted((tmp_path / "runs").rglob("*")) == before
    assert "yolo10m baseline       seed 0  waiting: not trained yet" in capsys.readouterr().out


def test_gate_m_asks_for_the_run_that_the_plan_would_hold(products, request_for, tmp_path, project):
    run_stage(request_for(seeds=[0], settings=("training.imgsz=96", "quantization.granularity=per-tensor")))
    products.calls()
    assert run_gate(Root(tmp_path / "runs"), project, ()) == 0
    assert kinds(products.calls()) == ["qat-train layers", "qat-gate check", "qat-report compare"]
    asked = qat_artifacts.read(tmp_path / "runs" / "yolo10m" / "request.json", RunRequest)
    assert (asked.model.imgsz, asked.quantization.granularity, asked.profile) == (96, "per-tensor", "demo")
    products.behave({"qat-gate check": 4})
    assert run_gate(Root(tmp_path / "runs"), project, ()) == 4


def test_gate_m_over_a_root_that_is_not_there_says_what_to_run_first(tmp_path, project):
    (tmp_path / "empty").mkdir()  # as a start that failed at once leaves it
    with pytest.raises(ConfigError, match=r"empty: there is no such run root; run `invoke ladder\.n --root"):
        run_gate(Root(tmp_path / "empty"), project, ())
    with pytest.raises(ConfigError, match=r"no such run root; run `invoke ladder\.n --root"):
        run_gate(Root(tmp_path / "nowhere"), project, ())
    assert not (tmp_path / "nowhere").exists()


def test_weights_of_a_variant_for_the_drawn_data_are_made_once_and_kept(products, request_for, tmp_path, capsys):
    request = request_for(variant="yolo10s", seeds=[0], settings=("pretrain.epochs=3", "training.epochs=2"))
    drawn = tmp_path / "pretrain" / "data" / "abababababab"
    assert run_stage(request) == 0
    calls = products.calls()
    assert kinds(calls).count("qat-train pretrain") == 1
    assert drawn.exists()
    spec = tomli.loads((tmp_path / "pretrain" / "yolo10s" / "pretrain.toml").read_text())
    assert (spec["training"]["epochs"], spec["model"]["checkpoint"]) == (3, "scratch:yolov10s")
    assert "no checkpoint of yolo10s for the drawn data is shipped; it is made first" in capsys.readouterr().err
    assert run_stage(request) == 0
    assert "qat-train pretrain" not in kinds(products.calls())
    run = tomli.loads((tmp_path / "runs/trajectories/yolo10s/shared/seed0/run.toml").read_text())
    assert run["model"]["checkpoint"] == str(tmp_path / "pretrain" / "yolo10s" / "model.pt")


def test_a_dry_run_of_the_gate_says_what_it_would_look_at(products, request_for, tmp_path, project, capsys):
    root = Root(tmp_path / "runs")
    assert run_gate(root, project, (), dry_run=True) == 0
    assert f"root     {root.path}: no run summary yet\nplan     none yet" in capsys.readouterr().out
    run_stage(request_for(seeds=[0]))
    products.calls()
    assert run_gate(root, project, (), dry_run=True) == 0
    assert products.calls() == []
    assert f"root     {root.path}: {root.path / 'yolo10n'}\nplan     {root.plan}" in capsys.readouterr().out
