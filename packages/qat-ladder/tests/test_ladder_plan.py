"""One root, one plan: extended, or refused with key, both values and remedy."""

import attrs
import pytest

import qat_artifacts
from qat_ladder.errors import ConfigError
from qat_ladder.layout import Root
from qat_ladder.plan import Plan, arm_of, binding_plan, extend, make_plan, read_plan


def plan_of(request, trajectory="shared"):
    return make_plan([request.resolve(m) for m in request.methods], request.seeds, trajectory)


def cells(plan):
    return {(c.variant, c.method, c.seed, c.arm) for c in plan.cells}


def test_three_rows_of_a_seed_share_one_training_run(request_for):
    plan = plan_of(request_for())
    assert cells(plan) == {("yolo10n", m, s, "shared") for m in ("baseline", "ema", "ema+qc") for s in (0, 1)}


def test_separate_trajectories_have_an_arm_each(request_for):
    arms = {c.method: c.arm for c in plan_of(request_for(), "separate").cells}
    assert arms == {"baseline": "baseline", "ema": "ema", "ema+qc": "ema-qc"}


def write_method(project, name, text):
    (project / "configs" / "methods" / f"{name}.toml").write_text(
        f'[method]\nname = "{name}"\nweights = "raw"\ncorrection = false\n{text}'
    )


def arms(request, names, mode="shared"):
    return {name: arm_of(request.resolve(name), mode) for name in names}


def test_methods_that_set_the_same_training_keys_share_a_run_that_is_named_by_them(request_for):
    wanted = {
        "shared": "baseline bn qc ema ema+bn ema+qc ema+bn+qc ema+qc-beta ema+qc-gamma",
        "learned-true": "learned learned+ema learned+ema+bn learned+ema+qc",
        "granularity-per-tensor_learned-true": "paper paper+ema paper+ema+qc",
        "dampening-0.1": "dampening dampening+ema",
        "freezing-0.02": "freezing freezing+ema",
        "distillation-1.0": "distill distill+ema",
        "bits-32": "fp32 fp32+ema",
    }
    expected = {name: arm for arm, names in wanted.items() for name in names.split()}
    assert arms(request_for(), expected) == expected
    assert arms(request_for(), ["learned+ema"], "separate") == {"learned+ema": "learned-ema"}


def test_every_shipped_method_names_itself_and_its_source(request_for, project):
    files = sorted((project / "configs" / "methods").glob("*.toml"))
    assert len(files) >= 24
    for path in files:
        method = request_for().resolve(path.stem).config.method
        assert method.name.replace("+", "-") == path.stem
        first = path.read_text().splitlines()[0]
        assert first.startswith("# ")
        comment = path.read_text().partition("[method]")[0]
        peer = path.stem.startswith("peer-")  # its source is the library that its first line names
        assert peer or path.stem == "baseline" or "arXiv" in comment or "(ours)" in comment


def test_a_method_that_changes_training_has_an_arm_of_its_own(request_for, project):
    write_method(project, "slow", "[training]\nlr0 = 1e-5\n")
    write_method(project, "special", '[quantization]\npolicy = "my rules/own.toml"\n')
    request = request_for(methods=["baseline", "slow"])
    assert arms(request, ["baseline", "slow"]) == {"baseline": "shared", "slow": "lr0-1e-05"}
    assert arms(request, ["special"])["special"].startswith("policy-")
    assert "/" not in arms(request, ["special"])["special"]
    plan = plan_of(request)
    assert plan.keys["yolo10n"]["training.lr0"] == 5e-4
    assert plan.keys["yolo10n/slow"]["training.lr0"] == 1e-5


def test_a_method_whose_file_changed_its_training_is_refused(request_for, project, tmp_path):
    write_method(project, "slow", "[training]\nlr0 = 1e-5\n")
    old = plan_of(request_for(methods=["slow"]))
    write_method(project, "slow", "[training]\nlr0 = 1e-5\nlrf = 0.5\n")
    with pytest.raises(
        ConfigError, match=r"slow of yolo10n is trained as 'lr0-1e-05' there and as 'lr0-1e-05_lrf-0\.5' now"
    ):
        extend(old, plan_of(request_for(methods=["slow"])), Root(tmp_path))


def test_an_intervention_that_is_new_changed_or_gone_is_refused(request_for, tmp_path):
    root, given = Root(tmp_path), "interventions.dampening=0.2"
    plain, damped = plan_of(request_for()), plan_of(request_for(settings=(given,)))
    with pytest.raises(ConfigError, match=r"interventions\.dampening is not set there and 0\.2 now"):
        extend(plain, damped, root)
    with pytest.raises(ConfigError, match=r"interventions\.dampening is 0\.2 there and not set now"):
        extend(damped, plain, root)
    with pytest.raises(ConfigError, match=r"interventions\.dampening is 0\.2 there and 0\.3 now"):
        extend(damped, plan_of(request_for(settings=("interventions.dampening=0.3",))), root)
    more = plan_of(request_for(methods=["dampening"], settings=(given,)))
    assert {c.arm for c in extend(damped, more, root).cells} == {"shared", "dampening-0.2"}
    assert {c.arm for c in extend(plain, plan_of(request_for(methods=["dampening"])), root).cells} == {
        "shared",
        "dampening-0.1",
    }


def test_more_seeds_methods_and_variants_extend_a_plan(request_for, tmp_path):
    root = Root(tmp_path / "runs")
    old = plan_of(request_for(seeds=[0], methods=["baseline"]))
    more = extend(old, plan_of(request_for(seeds=[1, 2])), root)
    assert len(more.cells) == 1 + 3 * 2
    other = request_for(variant="yolo10s", checkpoint=str(tmp_path / "s.pt"))
    assert {c.variant for c in extend(more, plan_of(other), root).cells} == {"yolo10n", "yolo10s"}
    assert more.created_at == old.created_at


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("training.imgsz=320", "training.imgsz is 160 there and 320 now"),
        ("training.epochs=11", "training.epochs is 10 there and 11 now"),
        ("data.seed=1", "data.seed is 0 there and 1 now"),
        ("quantization.bits=4", "quantization.bits is 3 there and 4 now"),
        ("qc.lr=1e-3", "qc.lr is 0.0001 there and 0.001 now"),
    ],
)
def test_a_changed_key_is_refused_with_both_values_and_the_remedy(request_for, tmp_path, setting, text):
    old = plan_of(request_for())
    with pytest.raises(ConfigError) as found:
        extend(old, plan_of(request_for(settings=(setting,))), Root(tmp_path / "runs"))
    assert text in str(found.value)
    assert "--root runs/NAME" in str(found.value)
    assert found.value.code == 2


def test_other_data_checkpoints_and_trajectories_are_refused(request_for, tmp_path):
    old, root = plan_of(request_for()), Root(tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"data\.coco_root is 'demo' there and"):
        extend(old, plan_of(request_for(coco_root=str(tmp_path), profile="demo", checkpoint="x.pt")), root)
    with pytest.raises(ConfigError, match=r"model\.checkpoint is"):
        extend(old, plan_of(request_for(checkpoint="x.pt")), root)
    with pytest.raises(ConfigError, match="trajectory is 'shared' there and 'separate' now"):
        extend(old, plan_of(request_for(), "separate"), root)


def test_machine_keys_may_differ(request_for, tmp_path):
    old = plan_of(request_for())
    new = plan_of(request_for(device="cpu", settings=("training.workers=2", "training.threads=1")))
    assert extend(old, new, Root(tmp_path)).keys == old.keys


def test_a_plan_is_an_artifact(request_for, tmp_path):
    root = Root(tmp_path)
    assert read_plan(root) is None
    plan = attrs.evolve(plan_of(request_for()), data_fingerprint="f" * 64)
    qat_artifacts.write(root.plan, plan, created_by="test")
    assert read_plan(root) == plan == qat_artifacts.read(root.plan, Plan)


@pytest.mark.parametrize("key", ["lr0", "batch"])
@pytest.mark.parametrize("given_first", [True, False])
def test_a_value_meets_itself_whether_a_file_or_a_flag_gives_it(request_for, tmp_path, key, given_first):
    """Batch and learning rate have variant defaults under the larger profiles."""
    value = {"lr0": "0.05", "batch": "8"}[key]
    requests = [
        request_for(profile="short", coco_root=str(tmp_path)),
        request_for(profile="short", coco_root=str(tmp_path), settings=(f"training.{key}={value}",)),
    ]
    old, new = map(plan_of, reversed(requests) if given_first else requests)
    with pytest.raises(ConfigError, match=rf"training\.{key} is .* there and .* now"):
        extend(old, new, Root(tmp_path))


def test_a_plan_under_which_nothing_was_begun_binds_nobody(request_for, tmp_path):
    root = Root(tmp_path / "r")
    qat_artifacts.write(
        root.plan, plan_of(request_for(settings=("quantization.policy=nope",))), created_by="qat-ladder 0.1.0"
    )
    assert read_plan(root) is not None
    assert binding_plan(root) is None
    qat_artifacts.write_text(root.trajectory("yolo10n", "shared", 0) / "run.json", "{}")
    assert binding_plan(root) == read_plan(root)
