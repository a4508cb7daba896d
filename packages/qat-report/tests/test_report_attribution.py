"""Where a variant's final value comes from, over planted trajectories."""

import pytest

import qat_artifacts
from qat_report import Entry, RunSummary, build_comparison, compare

RAMP = [0.1, 0.2, 0.3, 0.3, 0.3]
# Final values in 1/64 of one trajectory; FP32 is 28/64 and PTQ 4/64 (the golden summary's).
CHAIN = {"baseline": 20, "bn": 21, "qc": 22, "ema": 22, "ema+bn": 23, "ema+qc": 24, "ema+bn+qc": 25}


def rows(seed, finals, trajectory=None):
    made = []
    for method, final in finals.items():
        corrected = {"bn", "qc"} & set(method.split("+"))
        row = {"variant": "yolo10n", "method": method, "seed": seed, "class": "stable"}
        row["trajectory"] = trajectory or f"yolo10n/seed{seed}"
        row |= {"history": [*RAMP, 0.3], "qc": final / 64} if corrected else {"history": [*RAMP, final / 64]}
        made.append(row)
    return made


@pytest.fixture
def attributed(ladder):
    """(steps by name, sentence) of the only attribution."""

    def make(*parts):
        root, paths = ladder(*parts)
        read = [(path.relative_to(root).as_posix(), qat_artifacts.read(path, RunSummary)) for path in paths]
        comparison = build_comparison([Entry(path=path, summary=summary) for path, summary in read])[0]
        if not comparison.attribution:
            return None
        (found,) = comparison.attribution
        return {(step.start, step.end): step for step in found.steps}, found.explained

    return make


def three_seeds(**changes):
    """Three trajectories; seed k adds k/64 to every value."""
    return [row for seed in range(3) for row in rows(seed, {m: v + seed for m, v in (CHAIN | changes).items()})]


def test_each_step_is_paired_within_its_trajectory(attributed):
    steps, _ = attributed(*three_seeds())
    means = {names: round(step.mean * 64, 9) for names, step in steps.items()}
    assert means == {
        ("fp32", "ptq"): -24.0,
        ("ptq", "baseline"): 17.0,
        ("baseline", "bn"): 1.0,
        ("baseline", "qc"): 2.0,
        ("baseline", "ema"): 2.0,
        ("ema", "ema+bn"): 1.0,
        ("ema", "ema+qc"): 2.0,
        ("ema+bn", "ema+bn+qc"): 2.0,
        ("ema+qc", "ema+bn+qc"): 1.0,
    }
    ramp = steps["ptq", "baseline"]
    assert ramp.differences == {"0": 16 / 64, "1": 17 / 64, "2": 18 / 64}
    assert (ramp.n, ramp.interval.low, ramp.interval.high) == (3, 16 / 64, 18 / 64)


def test_references_that_all_seeds_share_are_one_measurement_without_an_interval(attributed):
    steps, _ = attributed(*three_seeds())
    assert (steps["fp32", "ptq"].n, steps["fp32", "ptq"].interval) == (3, None)
    assert steps["ema", "ema+qc"].interval is not None


def test_step_without_a_pair_is_left_out_and_n_is_that_of_the_step(attributed):
    parts = [*rows(0, CHAIN), *rows(1, {k: v for k, v in CHAIN.items() if k in ("baseline", "ema", "ema+qc")})]
    steps, _ = attributed(*(row for row in parts if row["method"] not in ("bn", "qc")))
    assert ("baseline", "bn") not in steps
    assert (steps["ema", "ema+qc"].n, steps["ema", "ema+bn"].n) == (2, 1)


def test_run_that_collapsed_is_in_no_step(attributed):
    parts = [*rows(0, CHAIN), *rows(1, CHAIN)]
    parts[7] |= {"class": "collapsed"}  # baseline of seed 1
    steps, _ = attributed(*parts)
    assert (steps["baseline", "ema"].n, steps["ema", "ema+qc"].n) == (1, 2)


def test_rows_of_separate_trajectories_attribute_nothing(attributed):
    parts = [row | {"trajectory": f"alone/{row['method']}"} for row in rows(0, CHAIN)]
    assert attributed(*parts) is None


def test_ema_without_a_correction_attributes_nothing(attributed):
    assert attributed(*rows(0, {"baseline": 20, "ema": 22})) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {},
            "BN re-estimation explains 50% of QC's mean gain: over 3 seeds, QC changes EMA by +0.0312 [+0.0312, "
            "+0.0312] and BN re-estimation alone by +0.0156 [+0.0156, +0.0156].",
        ),
        (
            {"ema+bn": 21},
            "BN re-estimation explains none of QC's gain: over 3 seeds, QC changes EMA by +0.0312 [+0.0312, +0.0312] "
            "and BN re-estimation alone by -0.0156 [-0.0156, -0.0156].",
        ),
        (
            {"ema+bn": 24},
            "BN re-estimation alone gains as much as QC or more: over 3 seeds, QC changes EMA by +0.0312 [+0.0312, "
            "+0.0312] and BN re-estimation alone by +0.0312 [+0.0312, +0.0312].",
        ),
        (
            {"ema+qc": 21},
            "QC has no gain to explain: over 3 seeds, QC changes EMA by -0.0156 [-0.0156, -0.0156] and BN "
            "re-estimation alone by +0.0156 [+0.0156, +0.0156].",
        ),
    ],
)
def test_sentence_says_what_the_numbers_say(attributed, changes, text):
    assert attributed(*three_seeds(**changes))[1] == text


def test_gain_that_is_not_shown_is_said_with_its_n(attributed):
    assert attributed(*rows(0, CHAIN))[1] == (
        "BN re-estimation explains 50% of QC's mean gain: over 1 seed, QC changes EMA by +0.0312 and BN re-estimation "
        "alone by +0.0156; with n = 1, QC's and BN's own difference cannot be shown."
    )


def test_share_that_was_not_measured_is_said(attributed):
    _, text = attributed(*rows(0, {"ema": 22, "ema+qc": 24}))
    assert text == (
        "How much of QC's gain BN re-estimation explains is not measured: no trajectory has ema, ema+bn and ema+qc."
    )


def test_both_pages_show_the_steps_and_the_sentence(ladder, tmp_path):
    root, _ = ladder(*three_seeds())
    compare([root], out=tmp_path / "out")
    page = (tmp_path / "out/summary.md").read_text(encoding="utf-8")
    assert "### Where yolo10n gains\n" in page
    assert "| ema → ema+bn | +0.0156 | \\[+0.0156, +0.0156\\] | 3 | 0: +0.0156, 1: +0.0156, 2: +0.0156 |" in page
    assert "| FP32 → PTQ | -0.3750 | – | 3 |" in page
    html = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    for text in (page, html):
        assert "explains 50% of QC" in text
    assert "ema+bn → ema+bn+qc" in html
