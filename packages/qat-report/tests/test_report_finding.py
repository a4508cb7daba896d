"""What is compared: files, folders, patterns, several roots, filters."""

import re
from pathlib import Path

import pytest

from qat_report import ReportError, RequestError, compare, find_summaries
from qat_report.finding import choose, read_summaries


def test_pattern_names_what_it_matches_and_a_file_found_twice_counts_once(ladder, tmp_path):
    root, paths = ladder("good")
    matched = find_summaries([root / "yolo10?" / "ema" / "seed*", root / "**" / "ema"])
    assert matched == sorted(path for path in paths if path.parts[-3] == "ema")


def test_pattern_may_be_relative(ladder, monkeypatch):
    monkeypatch.chdir(ladder("good")[0])
    assert len(find_summaries([Path("yolo10s/*")])) == 4


def test_pattern_that_matches_nothing_is_refused(tmp_path):
    with pytest.raises(ReportError, match=r"\*/run_summary.json: no file or folder matches this pattern$"):
        find_summaries([tmp_path / "*" / "run_summary.json"])


def test_folder_whose_name_looks_like_a_pattern_is_that_folder(ladder, tmp_path):
    root, paths = ladder("good", root=tmp_path / "runs [1]")
    assert find_summaries([root]) == sorted(paths)


def test_training_run_without_a_summary_is_refused_with_the_command_that_makes_one(run):
    folder = run()
    command = f"qat-report summarize --run {folder} --method baseline --out FOLDER"
    with pytest.raises(
        ReportError, match=re.escape(f"{folder}: no run_summary.json in this folder or below; run `{command}` first")
    ):
        find_summaries([folder])


def test_two_roots_with_the_same_runs_are_told_apart_by_their_names(ladder, ladder_row, tmp_path):
    first, _ = ladder("good", root=tmp_path / "small/runs")
    for index in (0, 2, 4):
        ladder(ladder_row("good", index, set={"model.imgsz": 640}), root=tmp_path / "large/runs")
    comparison = compare([first, tmp_path / "large/runs"], out=tmp_path / "out")
    ids = [row.run_id for row in comparison.rows if row.variant == "yolo10n" and row.method == "baseline"]
    assert ids == [
        f"{name}/runs:yolo10n/seed{seed}/baseline" for name, seed in (("large", 0), ("small", 0), ("small", 1))
    ]
    assert [row.comparable for row in comparison.rows if row.run_id.startswith("large")] == [False] * 3
    paired = next(c for c in comparison.cells if (c.variant, c.method) == ("yolo10n", "ema")).delta_baseline
    assert paired.differences == {"0": 0.015625, "1": 0.0234375}  # of the small root alone


def test_two_roots_with_different_runs_keep_their_ids(ladder, ladder_row, tmp_path):
    for name, seed in (("a", 0), ("b", 7)):
        ladder(ladder_row("good", 0, seed=seed), root=tmp_path / name)
    found = read_summaries([tmp_path / "a", tmp_path / "b"])
    assert [item.summary.run_id for item in found] == ["yolo10n/seed0/baseline", "yolo10n/seed7/baseline"]


def test_copy_of_a_root_is_no_second_one(ladder, tmp_path):
    for name in ("a", "b"):
        ladder("good", root=tmp_path / name)
    with pytest.raises(ReportError, match=r"^run id 'yolo10n/seed0/baseline' occurs twice: .*; leave one of them out$"):
        read_summaries([tmp_path / "a", tmp_path / "b"])


def test_repetition_in_two_roots_is_one_repetition(ladder, ladder_row, tmp_path):
    for name, last in (("a", 0.375), ("b", 0.36)):
        ladder(ladder_row("good", 0, history=[0.1, 0.2, 0.3, 0.3, 0.3, last]), root=tmp_path / name)
    with pytest.raises(ReportError, match=r"^yolo10n baseline seed 0 occurs twice: .*a seed is one repetition"):
        compare([tmp_path / "a", tmp_path / "b"], out=tmp_path / "out")


def test_filters_choose_and_the_page_says_what_was_left_out(ladder, tmp_path):
    root, _ = ladder("good", "collapsed")
    comparison = compare([root], out=tmp_path / "out", variants=["yolo10n"], methods=["ema", "ema+qc"], seeds=[0, 1])
    assert [(row.method, row.seed) for row in comparison.rows] == [("ema", 0), ("ema", 1), ("ema+qc", 0), ("ema+qc", 1)]
    assert (comparison.choice.methods, comparison.choice.left_out) == (("ema", "ema+qc"), 7)
    text = (
        "compared on request: variant yolo10n; method ema, ema+qc; seed 0, 1; 7 summary files beside these 4 left out"
    )
    assert text in comparison.notes


def test_nothing_chosen_is_everything(ladder):
    root, _ = ladder("good")
    found = read_summaries([root])
    assert choose(found) == (found, None)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"methods": ["emma"]}, "--method emma: no summary has it; there are baseline, ema, ema+qc"),
        ({"seeds": [0, 9]}, "--seed 9: no summary has it; there are 0, 1"),
        (
            {"variants": ["yolo10s"], "methods": ["ema"]},
            "none of 10 summary files has all that was asked for; ask for less",
        ),
    ],
)
def test_filter_that_leaves_nothing_is_a_wrong_request(ladder, asked, text):
    root, _ = ladder("good")
    with pytest.raises(RequestError, match=f"^{re.escape(text)}$"):
        choose(read_summaries([root]), **asked)
