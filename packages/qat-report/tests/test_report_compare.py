import json
import random
import re
from pathlib import Path

import pytest

import qat_artifacts
from qat_report import Comparison, Entry, ReportError, RequestError, RunSummary, build_comparison, compare

FIXTURES = Path(__file__).parent / "fixtures"
ALL = ("good", "collapsed", "incomplete", "no number", "other val subset")


def cell(comparison, variant, method):
    return next(c for c in comparison.cells if (c.variant, c.method) == (variant, method))


@pytest.fixture
def compared(ladder):
    """The comparison of parts of the ladder, in memory."""

    def make(*parts):
        root, paths = ladder(*parts)
        read = [(path.relative_to(root).as_posix(), qat_artifacts.read(path, RunSummary)) for path in paths]
        return build_comparison([Entry(path=path, summary=summary) for path, summary in read])[0]

    return make


@pytest.fixture
def gate(tmp_path):
    def write(passed, inputs=()):
        path = tmp_path / "gate.json"
        reason = {
            "kind": "missing",
            "text": "yolo10s ema+qc seed 1 is missing",
            "runs": ["yolo10s/seed1/ema+qc"],
            "anything": "else",
        }
        document = {
            "schema": "qat-gate/decision",
            "version": "1.0",
            "created_by": "qat-gate 0.1.0",
            "inputs": [{"schema": "qat-report/run-summary", "sha256": sha, "path": "x.json"} for sha in inputs],
            "gate_name": "yolo10m_allowed",
            "passed": passed,
            "reason": "all criteria are met" if passed else "1 of 1 criteria is not met",
            "override": None,
            "notes": [],
            "criteria": [
                {
                    "id": "R1",
                    "text": "two seeds of every cell",
                    "met": passed,
                    "reasons": [] if passed else [reason],
                    "satisfied_by": "run seed 1",
                }
            ],
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    return write


def test_methods_stand_side_by_side_with_mean_spread_and_worst(compared):
    found = cell(compared("good"), "yolo10n", "ema+qc")
    assert (found.seeds, found.counted_seeds) == ((0, 1), (0, 1))
    assert (found.mean, found.minimum, found.maximum, found.spread) == (0.390625, 0.375, 0.40625, 0.03125)
    assert found.std == pytest.approx(0.03125 / 2**0.5)
    assert found.worst == 0.375
    assert (found.delta_fp32, found.delta_ptq) == (-0.046875, 0.328125)
    assert (found.agree, found.classes) == (True, {"0": "stable", "1": "stable"})


def test_difference_to_the_baseline_is_paired_by_seed(compared):
    paired = cell(compared("good"), "yolo10n", "ema+qc").delta_baseline
    assert paired.differences == {"0": 0.03125, "1": 0.015625}
    assert (paired.n, paired.mean, paired.minimum, paired.maximum) == (2, 0.0234375, 0.015625, 0.03125)
    assert (paired.better, paired.worse, paired.worst_seed, paired.sign_test_p) == (2, 0, 1, None)
    assert (paired.interval.low, paired.interval.high, paired.interval.method) == (0.015625, 0.03125, "exhaustive")


def test_correction_is_paired_with_the_average_it_started_from_too(compared):
    comparison = compared("good")
    assert cell(comparison, "yolo10n", "ema+qc").delta_ema.differences == {"0": 0.015625, "1": -0.0078125}
    assert cell(comparison, "yolo10n", "ema").delta_ema is None
    assert cell(comparison, "yolo10s", "ema+qc").delta_ema is None  # there is no ema of that variant


def test_control_in_floating_point_stands_as_a_row_without_ptq(compared, ladder_row):
    control = {
        "method": "fp32",
        "ptq": None,
        "set": {
            "quantization.mode": "fp32",
            "quantization.library": "none",
            "quantization.weight_bit_width": None,
            "quantization.layers": [],
            "method.sets": ["quantization"],
        },
    }
    comparison = compared("good", *(ladder_row("good", i, **control, trajectory=f"bits-32/{i}") for i in (0, 1)))
    found = cell(comparison, "yolo10n", "fp32")
    assert (found.counted_seeds, found.delta_ptq, found.delta_fp32) == ((0, 1), None, -0.0703125)
    assert [r.method for r in comparison.rows if r.variant == "yolo10n"][-1] == "fp32"
    assert not [note for note in comparison.notes if "PTQ reference" in note]


def test_arm_that_intervenes_is_comparable_where_it_says_so(compared, ladder_row):
    def arm(seed, strength, *sets):
        change = {"training.interventions": {"dampening": strength}, "method.sets": list(sets)}
        return ladder_row("good", 0, method="dampening", seed=seed, trajectory=f"dampening/{seed}", set=change)

    declared = compared("good", arm(0, 0.1, "training.interventions"), arm(1, 0.2, "training.interventions"))
    notes = {row.seed: row.notes for row in declared.rows if row.method == "dampening"}
    assert notes == {0: (), 1: ("not comparable: training.interventions.dampening is 0.2, not 0.1",)}


def test_references_stand_above_the_methods_of_each_variant(ladder, tmp_path):
    root, _ = ladder("good")
    found = compare([root], out=tmp_path / "out").references
    assert [(r.variant, r.fp32, r.ptq) for r in found] == [("yolo10n", 0.4375, 0.0625), ("yolo10s", 0.5, 0.125)]
    page = (tmp_path / "out/summary.md").read_text(encoding="utf-8")
    assert page.index("| FP32") < page.index("| PTQ") < page.index("| baseline")


def test_collapsed_run_is_marked_and_kept_out_of_the_mean(compared):
    comparison = compared("good", "collapsed")
    found = cell(comparison, "yolo10n", "baseline")
    assert (found.seeds, found.counted_seeds, found.mean) == ((0, 1, 2), (0, 1), 0.3671875)
    assert found.worst == 0.03125
    assert found.agree is False
    assert "yolo10n/seed2/baseline: left out of the means: collapsed" in comparison.notes
    row = next(r for r in comparison.rows if r.run_id == "yolo10n/seed2/baseline")
    assert (row.collapsed, row.comparable, row.notes) == (True, True, ("left out of the means: collapsed",))


def test_seed_that_collapsed_in_the_baseline_is_in_no_paired_difference(compared, ladder_row):
    paired = cell(compared("good", "collapsed", ladder_row("good", 2, seed=2)), "yolo10n", "ema").delta_baseline
    assert sorted(paired.differences) == ["0", "1"]


@pytest.mark.parametrize("part", ["incomplete", "no number"])
def test_incomplete_run_is_marked_and_kept_out_of_mean_and_worst(compared, part):
    comparison = compared("good", part)
    method = {"incomplete": "ema", "no number": "ema+qc"}[part]
    found = cell(comparison, "yolo10n", method)
    assert (found.counted_seeds, found.classes["2"], found.agree) == ((0, 1), "incomplete", False)
    assert found.worst == min(r.final_value for r in comparison.rows if r.method == method and r.seed in (0, 1))
    assert f"yolo10n/seed2/{method}: left out of the means: incomplete" in comparison.notes


def test_run_on_another_val_subset_is_flagged_with_the_keys_and_kept_out(compared):
    comparison = compared("good", "other val subset")
    found = cell(comparison, "yolo10n", "ema+qc")
    assert (found.seeds, found.counted_seeds, found.mean, found.worst) == ((0, 1, 3), (0, 1), 0.390625, 0.375)
    assert "3" not in found.classes
    row = next(r for r in comparison.rows if r.seed == 3)
    assert row.comparable is False
    assert row.notes[0].startswith("not comparable: dataset.selection.val is hash, not first; dataset.val_fingerprint")


def test_counted_run_of_another_class_is_said(compared, ladder_row):
    comparison = compared("good", ladder_row("good", seed=2, **{"class": "recovered"}))
    assert cell(comparison, "yolo10n", "baseline").counted_seeds == (0, 1, 2)
    assert "yolo10n/seed2/baseline: counted in the means although recovered" in comparison.notes


@pytest.mark.parametrize("run_class", ["diverged", "no-signal", "frozen-metric"])
def test_number_that_is_no_result_is_not_counted(compared, ladder_row, run_class):
    comparison = compared("good", ladder_row("good", seed=2, **{"class": run_class}))
    assert cell(comparison, "yolo10n", "baseline").counted_seeds == (0, 1)


def test_setting_that_a_method_sets_keeps_it_comparable_with_other_methods(compared, ladder_row):
    arm = {"method": "per-tensor", "set": {"quantization.granularity": "per-tensor", "method.sets": ["quantization"]}}
    rows = [ladder_row("good", i, **arm) for i in (0, 1)]
    found = cell(compared("good", *rows), "yolo10n", "per-tensor")
    assert (found.counted_seeds, found.delta_baseline.mean) == ((0, 1), 0.0)


def test_repetitions_of_a_method_that_sets_a_key_must_agree_in_it(compared, ladder_row):
    arm = {"method": "per-tensor", "set": {"quantization.granularity": "per-tensor", "method.sets": ["quantization"]}}
    odd = {"method": "per-tensor", "set": {"quantization.granularity": "per-block", "method.sets": ["quantization"]}}
    rows = [ladder_row("good", 0, **arm), ladder_row("good", 1, **arm), ladder_row("good", 0, **odd, seed=2)]
    found = {row.seed: row for row in compared("good", *rows).rows if row.method == "per-tensor"}
    assert (found[0].comparable, found[1].comparable) == (True, True)
    assert found[2].notes == ("not comparable: quantization.granularity is per-block, not per-tensor",)


def test_tie_of_settings_goes_to_the_lowest_seed(compared, ladder_row):
    other = ladder_row("good", 1, set={"model.imgsz": 640})
    found = {row.seed: row.comparable for row in compared(ladder_row("good", 0), other).rows}
    assert found == {0: True, 1: False}


def test_variants_on_other_data_are_said_not_to_be_comparable(compared, ladder_row):
    notes = compared(ladder_row("good", 0), ladder_row("good", 6, set={"model.imgsz": 640})).notes
    assert "yolo10s and yolo10n are not comparable with each other: model.imgsz is 640, not 320" in notes


def test_rows_of_one_trajectory_are_said_not_to_be_independent(compared):
    assert (
        "10 rows come from 4 training runs: rows that share a trajectory are paired, not independent; "
        "seeds are the repetitions"
    ) in compared("good").notes


def test_references_that_differ_between_runs_are_said(compared, ladder_row):
    comparison = compared(ladder_row("good", 0), ladder_row("good", 1, fp32=0.4375 + 1 / 64))
    assert comparison.references[0].fp32 == 0.4375 + 1 / 128
    assert "yolo10n: the FP32 reference differs between runs, 0.4375 to 0.4531; its mean is shown" in comparison.notes


def test_verdict_of_two_seeds_is_cautious(compared):
    comparison = compared("good")
    assert comparison.verdict[2] == (
        "yolo10n ema+qc: 2 of 2 seeds stable. Final 0.3906 mean over 2 seeds (range 0.3750 to 0.4062), "
        "-0.0469 against FP32 0.4375 and +0.3281 against PTQ 0.0625. "
        "ema+qc minus baseline: +0.0234 [+0.0156, +0.0312] over 2 seeds; two seeds cannot show a difference. "
        "ema+qc minus ema: +0.0039 [-0.0078, +0.0156] over 2 seeds; two seeds cannot show a difference."
    )
    assert (
        "2 of 2 seeds stable: a method that fails in half of its runs shows that with probability 0.25"
        in comparison.notes
    )


def test_verdict_calls_a_difference_in_which_all_seeds_agree(compared, ladder_row):
    rows = [ladder_row("good", i, seed=seed) for seed in range(6) for i in (0, 2)]
    verdict = compared(*rows).verdict[1]
    assert verdict.endswith(
        " ema is better than baseline by 0.0156 [0.0156, 0.0156], 6 of 6 seeds (sign test p = 0.031)."
    )


def test_verdict_of_mixed_signs_shows_no_difference(compared, ladder_row):
    rows = [ladder_row("good", i, seed=seed) for seed in range(5) for i in (0, 2)]
    rows += [ladder_row("good", 0, seed=5), ladder_row("good", 2, seed=5, history=[0.1, 0.2, 0.3, 0.3, 0.3, 0.3125])]
    verdict = compared(*rows).verdict[1]
    assert verdict.endswith(
        " over 6 seeds, better in 5, worse in 1, worst in seed 5 (-0.0625); "
        "no difference can be shown (sign test p = 0.22)."
    )


def test_few_seeds_are_said_once_with_what_chance_alone_would_call(compared, ladder_row):
    rows = [ladder_row("good", i, seed=seed) for seed in range(3) for i in (0, 2, 4)]
    notes = compared(*rows).notes
    assert sum("over few seeds they are too narrow" in note for note in notes) == 1
    (chance,) = [note for note in notes if "by chance" in note]
    assert chance.endswith("meets that by chance in 25.0% of cases over 3 seeds, and 3 comparisons are made here")
    assert "few seeds" in chance
    assert not any("from 6 seeds on" in note for note in notes)


def test_from_six_seeds_on_the_notes_say_by_what_a_difference_is_shown(compared, ladder_row):
    notes = compared(*(ladder_row("good", i, seed=seed) for seed in range(6) for i in (0, 2))).notes
    (rule,) = [note for note in notes if note.startswith("from 6 seeds on")]
    assert rule.endswith("meets that in less than 5% of cases, and 1 comparison is made here")
    assert not any("by chance" in note for note in notes)


def test_nothing_is_said_of_intervals_where_nothing_is_compared(compared, ladder_row):
    assert not [note for note in compared(ladder_row("good", 0)).notes if "intervals" in note or "chance" in note]


def test_verdict_without_a_baseline_makes_no_statement_on_a_difference(compared, ladder_row):
    verdict = compared(ladder_row("good", 2)).verdict[0]
    assert verdict.endswith("No seed pairs it with a baseline that counts: no statement on a difference.")


def test_order_of_inputs_does_not_change_a_byte(ladder, tmp_path):
    root, paths = ladder(*ALL)
    compare([root], out=tmp_path / "a")
    shuffled = random.Random(1).sample(paths, len(paths))
    compare(shuffled, out=tmp_path / "b")
    for name in ("comparison.json", "summary.md", "index.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_moved_tree_gives_the_same_bytes(ladder, tmp_path):
    for place in ("here", "there/below"):
        root, _ = ladder(*ALL, root=tmp_path / place)
        compare([root], out=root)
    for name in ("comparison.json", "summary.md", "index.html"):
        here, there = (tmp_path / place / name for place in ("here", "there/below"))
        assert here.read_bytes() == there.read_bytes()


def test_golden_comparison_of_version_1_0_still_reads():
    found = qat_artifacts.read(FIXTURES / "comparison-1.0.json", Comparison)
    assert (len(found.rows), found.claims, found.exports, found.choice, found.pages) == (14, (), (), None, {})


def test_golden_comparison_of_version_1_1_still_reads():
    found = qat_artifacts.read(FIXTURES / "comparison-1.1.json", Comparison)
    assert (len(found.claims), found.exports) == (8, ())


def test_golden_comparison_of_version_1_2_is_still_written(ladder, tmp_path):
    golden = FIXTURES / "comparison-1.2.json"
    root, _ = ladder(*ALL)
    compare([root], out=root)
    found = json.loads((root / "comparison.json").read_text(encoding="utf-8"))
    hashes = {name: qat_artifacts.sha256_file(root / name) for name in ("summary.md", "index.html")}
    assert found == json.loads(golden.read_text(encoding="utf-8")) | {"pages": hashes}


def test_file_and_its_folder_given_together_count_once(ladder, ladder_row, tmp_path):
    root, (path,) = ladder(ladder_row("good", 0))
    assert len(compare([root, path], out=tmp_path / "out").rows) == 1


def test_run_id_that_occurs_twice_is_refused(ladder, ladder_row, tmp_path):
    root, paths = ladder(ladder_row("good", 0), ladder_row("good", 0, place="-copy"))
    text = f"run id 'yolo10n/seed0/baseline' occurs twice: {paths[0]} and {paths[1]}; leave one of them out"
    with pytest.raises(ReportError, match=f"^{re.escape(text)}$"):
        compare([root], out=tmp_path / "out")


def test_seed_that_occurs_twice_in_a_cell_is_refused(compared, ladder_row):
    with pytest.raises(ReportError, match=r"^yolo10n baseline seed 0 occurs twice: .*a seed is one repetition"):
        compared(ladder_row("good", 0), ladder_row("good", 0, place="-again", trajectory="separate/seed0"))


def test_folder_without_a_summary_is_refused(tmp_path):
    with pytest.raises(ReportError, match=r"no run_summary.json in this folder or below; run `qat-report summarize`"):
        compare([tmp_path], out=tmp_path / "out")


def test_comparison_does_not_replace_the_page_of_a_run(ladder, ladder_row):
    _, (path,) = ladder(ladder_row("good", 0))
    with pytest.raises(RequestError, match=r"a run's own summary\.md lies here and would be replaced"):
        compare([path], out=path.parent)


def test_without_a_gate_the_decision_is_null(ladder, tmp_path):
    root, _ = ladder("good")
    assert compare([root], out=tmp_path / "out").yolo10m_allowed is None
    assert "Gate decision: not evaluated" in (tmp_path / "out/summary.md").read_text(encoding="utf-8")


def test_gate_decision_enters_the_comparison_and_every_runs_page(ladder, gate, tmp_path):
    root, paths = ladder("good")
    known = [qat_artifacts.sha256_file(path) for path in paths]
    found = compare([root], out=tmp_path / "out", gate=gate(False, known)).yolo10m_allowed
    assert (found.passed, found.reason, found.gate) == (False, "1 of 1 criteria is not met", "../gate.json")
    assert found.criteria[0].reasons[0].runs == ("yolo10s/seed1/ema+qc",)
    for path in paths:
        page = path.with_name("summary.md").read_text(encoding="utf-8")
        assert "Gate decision: NO-GO: 1 of 1 criteria is not met" in page
        assert "NOT met: two seeds of every cell (yolo10s ema+qc seed 1 is missing)" in page


def test_gate_decision_leaves_the_summaries_themselves_alone(ladder, gate, tmp_path):
    root, paths = ladder("good")
    before = [path.read_bytes() for path in paths]
    compare([root], out=tmp_path / "out", gate=gate(True))
    assert [path.read_bytes() for path in paths] == before


def test_gate_decided_on_other_files_is_said(ladder, gate, tmp_path):
    root, paths = ladder("good")
    known = [qat_artifacts.sha256_file(path) for path in paths]
    fresh = compare([root], out=tmp_path / "a", gate=gate(True, known))
    stale = compare([root], out=tmp_path / "b", gate=gate(True, [*known, "0" * 64]))
    text = "the gate decision rests on 1 summary file that this comparison does not hold"
    assert (text in fresh.notes, text in stale.notes) == (False, True)


def test_a_gate_that_decided_before_a_row_was_there_is_said_where_its_word_is(ladder, gate, tmp_path):
    root, paths = ladder("good")
    known = [qat_artifacts.sha256_file(path) for path in paths]
    fresh = compare([root], out=tmp_path / "a", gate=gate(False, known))
    older = compare([root], out=tmp_path / "b", gate=gate(False, known[1:]))
    first, second = (found.claims[0].text for found in (fresh, older))
    assert first == "NO-GO: 1 of 1 criteria is not met"
    assert second == f"{first}; decided without 1 row that came or changed since, decide again"
    assert second in (tmp_path / "b/summary.md").read_text(encoding="utf-8")
    assert older.yolo10m_allowed is not None
    assert f"NO-GO: {older.yolo10m_allowed.reason}" == second
    assert f"Gate decision: {second}" in (tmp_path / "b/summary.md").read_text(encoding="utf-8")
    assert second in paths[0].with_name("summary.md").read_text(encoding="utf-8"), "on the page of each run too"


def test_page_is_not_written_where_a_summary_says_but_beside_it(ladder, ladder_row, gate, tmp_path):
    row = ladder_row("good", 0, set={"artifacts.summary_md": "../../../../stolen.md"})
    root, (path,) = ladder(row)
    compare([root], out=tmp_path / "out", gate=gate(True))
    assert not (tmp_path / "stolen.md").exists()
    assert "GO: all criteria" in path.with_name("summary.md").read_text(encoding="utf-8")
