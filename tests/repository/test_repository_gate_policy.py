"""The shipped gate policy states the rules the documentation states."""

from pathlib import Path

from qat_gate import read_policy

ROOT = Path(__file__).parents[2]


def test_shipped_policy_requires_two_stable_seeds_of_the_whole_method_for_both_small_variants():
    policy = read_policy(ROOT / "configs" / "gate.toml")
    assert policy.gate_name == "yolo10m_allowed"
    assert (policy.variants, policy.method) == (("yolo10n", "yolo10s"), "ema+qc")
    assert policy.comparison.methods == ("baseline", "ema")
    assert (policy.seeds.min_seeds, policy.seeds.recommended_seeds) == (2, 3)
    assert policy.stability.allowed_classes == ("stable",)
    assert policy.comparability.enabled
    assert policy.include == ()


def test_the_floors_that_the_shipped_policy_shows_commented_out_are_valid(tmp_path):
    text = (ROOT / "configs" / "gate.toml").read_text(encoding="utf-8")
    start = text.index("# [floors]")
    (tmp_path / "gate.toml").write_text(text[:start] + text[start:].replace("# ", "", 3), encoding="utf-8")
    text = (tmp_path / "gate.toml").read_text(encoding="utf-8")
    (tmp_path / "gate.toml").write_text(text.replace("# max_drop", "max_drop"), encoding="utf-8")
    floors = read_policy(tmp_path / "gate.toml").floors
    assert (floors.min_fraction_of_fp32, floors.max_drop_below_baseline) == (0.8, 0.01)
