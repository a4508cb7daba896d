"""A policy is read strictly: every fault at once, with file, key, what is allowed and the nearest name."""

from pathlib import Path

import pytest

from qat_gate import PolicyError, read_policy
from qat_gate.policy import FloorsRule

GOOD = (Path(__file__).parent / "golden" / "policy.toml").read_text(encoding="utf-8")


def refusal(tmp_path, text):
    path = tmp_path / "gate.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        read_policy(path)
    return str(caught.value).replace(str(path), "gate.toml")


def test_a_policy_reads_into_rules_with_their_reasons(policy):
    assert (policy.variants, policy.method, policy.include) == (("yolo10n", "yolo10s"), "ema+qc", ())
    assert (policy.seeds.min_seeds, policy.seeds.recommended_seeds) == (2, 3)
    assert policy.stability.reason == "the m run repeats what n and s did"
    assert policy.floors is None


def test_floors_may_be_set(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text(f'{GOOD}\n[floors]\nreason = "useful"\nmin_fraction_of_fp32 = 1\n', encoding="utf-8")
    assert read_policy(path).floors == FloorsRule(reason="useful", min_fraction_of_fp32=1.0)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "min_seeds = 2",
            "min_seed = 2",
            "seeds.min_seeds: required field 'min_seeds' is missing; seeds: unknown field 'min_seed' "
            "(did you mean 'min_seeds'?), allowed: reason, min_seeds, recommended_seeds",
        ),
        ("min_seeds = 2", "min_seeds = 2.0", "seeds.min_seeds: expected int, found float 2.0"),
        ("min_seeds = 2", "min_seeds = true", "seeds.min_seeds: expected int, found bool True"),
        ("min_seeds = 2", "min_seeds = 0", "seeds: 'min_seeds' must be >= 1: 0"),
        ("min_seeds = 2", "min_seeds = 4", "seeds: recommended_seeds must be at least min_seeds, 4, found 3"),
        ("enabled = true", 'enabled = "on"', "comparability.enabled: expected bool, found str 'on'"),
        (
            '["yolo10n", "yolo10s"]',
            '"yolo10n"',
            "variants: expected a list, found str 'yolo10n'",
        ),
        (
            '["yolo10n", "yolo10s"]',
            "[]",
            "top level: variants must hold one name or more, each once, found []",
        ),
        (
            '["baseline", "ema"]',
            '["ema", "ema"]',
            "comparison: methods must hold one name or more, each once, found ['ema', 'ema']",
        ),
        (
            '["baseline", "ema"]',
            '["ema+qc"]',
            "top level: comparison.methods must not hold the required method 'ema+qc'",
        ),
        (
            '["stable"]',
            '["recovered"]',
            "stability: allowed_classes must hold 'stable', found ['recovered']",
        ),
        ('"one run shows nothing"', '" "', "seeds: reason must not be empty"),
        (
            "[seeds]",
            "[floors]\nreason = 'x'\n[seeds]",
            "floors: set min_fraction_of_fp32 or max_drop_below_baseline, or drop the table",
        ),
        (
            "[seeds]",
            "[floors]\nreason = 'x'\nmin_fraction_of_fp32 = 1.5\n[seeds]",
            "floors: min_fraction_of_fp32 must lie in [0, 1], found 1.5",
        ),
        (
            '["baseline", "ema"]',
            '["ema"]\n[floors]\nreason = "x"\nmax_drop_below_baseline = 0.1',
            "top level: floors.max_drop_below_baseline needs 'baseline' in comparison.methods",
        ),
    ],
)
def test_wrong_keys_are_refused_with_place_and_remedy(tmp_path, old, new, expected):
    assert refusal(tmp_path, GOOD.replace(old, new, 1)) == f"gate.toml: {expected}"


def test_an_unknown_class_is_refused_with_the_known_ones(tmp_path):
    text = refusal(tmp_path, GOOD.replace('["stable"]', '["stabel"]'))
    assert text.startswith("gate.toml: stability.allowed_classes[0]: stabel not in literal")
    assert "'collapsed'" in text
    assert "'stable'" in text


def test_all_faults_are_reported_at_once(tmp_path):
    text = refusal(tmp_path, GOOD.replace("min_seeds = 2", "min_seeds = '2'").replace("enabled = true", "enabled = 1"))
    assert text == (
        "gate.toml: seeds.min_seeds: expected int, found str '2'; comparability.enabled: expected bool, found int 1"
    )


def test_a_rule_cannot_be_left_out(tmp_path):
    text = refusal(tmp_path, GOOD[: GOOD.index("[fitness]")])
    assert text == "gate.toml: fitness: required field 'fitness' is missing"


def test_what_is_no_toml_is_refused_with_its_line(tmp_path):
    assert refusal(tmp_path, "gate_name = [") == "gate.toml: Invalid value (at end of document)"


def test_a_missing_policy_is_named(tmp_path):
    with pytest.raises(PolicyError) as caught:
        read_policy(tmp_path / "absent.toml")
    assert str(caught.value) == f"{tmp_path / 'absent.toml'}: No such file or directory"
