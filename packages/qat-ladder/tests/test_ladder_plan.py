"""One root, one plan: extended, or refused with key, both values and remedy."""

import attrs
import pytest

import qat_artifacts
from qat_ladder.errors import ConfigError
from qat_ladder.layout import Root
from qat_ladder.plan import Plan, arm_of, extend, make_plan, read_plan


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


def test_a_method_that_changes_training_has_an_arm_of_its_own(request_for, project):
    (project / "configs" / "methods" / "slow.toml").write_text(
        '[method]\nname = "slow"\nweights = "raw"\ncorrection = false\n[training]\nlr0 = 1e-5\n'
    )
    request = request_for(methods=["baseline", "slow"])
    assert [arm_of(request.resolve(m), "shared") for m in request.methods] == ["shared", "slow"]
    plan = plan_of(request)
    assert plan.keys["*"]["training.lr0"] == 5e-4
    assert plan.keys["yolo10n/slow"]["training.lr0"] == 1e-5


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
