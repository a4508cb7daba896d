"""What a page shows of the files behind its summaries, and what it says where they are not there."""

import json
import re
import shutil

import pytest

from qat_report import summarize
from qat_report.plots import Sheet, layers_svg
from qat_report.views import RunFiles


def table(page, first_column):
    """Rows of the Markdown table whose header begins with a column."""
    lines = page[page.index(f"\n| {first_column} |") + 1 :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]


def test_classes_stand_with_their_loss_against_floating_point(traced, pages_of):
    page = pages_of(traced(seeds=(0, 1))).markdown
    head, *rows = table(page, "class")
    assert head == ["class", "FP32", "PTQ", "baseline", "ema", "ema+qc", "Δ ema+qc − FP32"]
    assert rows == [
        ["red", "0.4375", "0.0625", "0.3750", "0.3906", "0.4062", "-0.0312"],
        ["white", "0.4375", "0.0625", "0.3750", "0.3906", "0.4062", "-0.0312"],
    ]


def test_classes_are_means_over_seeds_that_count_with_the_largest_loss_first(traced, pages_of):
    def change(number, line):
        if number == 5:
            line["raw"]["per_class"] = {"red": 0.5, "white": 0.25}

    root = traced(seeds=(0, 1), methods=("baseline",), change=change)
    path = root / "yolo10n/baseline/seed1/run_summary.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["stability"]["class"] = "collapsed"
    path.write_text(json.dumps(document), encoding="utf-8")
    page = pages_of(root).markdown
    assert table(page, "class")[1:] == [
        ["white", "0.4375", "0.0625", "0.2500", "-0.1875"],
        ["red", "0.4375", "0.0625", "0.5000", "+0.0625"],
    ]


def test_layers_stand_by_what_oscillates_in_the_last_epoch_the_most_first(traced, pages_of):
    pages = pages_of(traced(seeds=(0, 1)))
    html, page = pages.html, pages.markdown
    assert table(page, "layer") == [
        ["layer", "bits", "weights", "baseline"],
        ["model.1", "–", "–", "10.00%"],
        ["model.0", "–", "–", "5.00%"],
        ["model.2", "–", "–", "0.00%"],
    ]
    for name in ("oscillation-yolo10n", "layers-yolo10n"):
        assert f'<title id="{name}-title">' in html
    assert "n/seed0: 5.00% of weights oscillate at epoch 6, 30 switches in it" in html


def test_layers_at_rest_are_a_table_and_no_empty_plot(traced, pages_of):
    def change(number, line):
        for layer in line["oscillation"]["layers"].values():
            layer["share"] = 0.0

    pages = pages_of(traced(change=change))
    assert layers_svg(pages.contents.sections[0].runs, "yolo10n", Sheet.of([])) is None
    assert table(pages.markdown, "layer")[1][3] == "0.00%"


def test_an_epoch_that_was_not_tracked_is_no_fault(traced, pages_of):
    def change(number, line):
        if number == 5:
            line["oscillation"] = None

    page = pages_of(traced(change=change)).markdown
    assert table(page, "layer")[1] == ["model.1", "–", "–", "8.00%"]


def test_file_that_changed_since_the_summary_is_said_and_not_shown(traced, pages_of):
    root = traced(seeds=(0, 1))
    with (root / "trajectories/seed1/metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
    pages = pages_of(root)
    html, page = pages.html, pages.markdown
    text = (
        "3 rows were made from files that have changed since; their classes and oscillation over time are left out: "
        "n/seed1/baseline, n/seed1/ema, n/seed1/ema+qc"
    )
    for rendered in (html, page):
        assert text in rendered
    assert "n/seed1: 5.00% of weights oscillate" not in html
    assert "n/seed0: 5.00% of weights oscillate" in html


def test_summaries_that_travel_alone_are_compared_and_say_what_is_missing(traced, pages_of):
    root = traced()
    shutil.rmtree(root / "trajectories")
    page = pages_of(root).markdown
    assert "3 rows lie here without the files they were made from; their classes" in page
    assert "Classes of" not in page
    assert "| baseline | 0 | stable |" in page


def test_summaries_that_claim_no_files_are_told_nothing(ladder, pages_of):
    root, _ = ladder("good")
    page = pages_of(root).markdown
    assert "files they were made from" not in page


def test_run_that_was_cut_off_before_its_first_line_is_told_nothing(run, tmp_path, pages_of):
    (run(status="running") / "metrics.jsonl").unlink()
    summarize(tmp_path / "run", method="baseline", out=tmp_path / "root")
    assert "files they were made from" not in pages_of(tmp_path / "root").markdown


def test_a_number_outside_its_range_in_the_evidence_is_an_error_with_its_place(traced):
    with pytest.raises(Exception, match=re.escape("metrics.jsonl:1: raw: per_class['red'] 1.5 is outside [0, 1]")):
        traced(change=lambda number, line: line["raw"]["per_class"].update(red=1.5))


def test_a_file_of_a_run_has_a_name_that_a_file_system_takes():
    assert RunFiles(metrics="é" * 127, checkpoint=None).metrics == "é" * 127
    with pytest.raises(ValueError, match=r"^metrics 'é+' is no file in the folder of run\.json$"):
        RunFiles(metrics="é" * 128, checkpoint=None)
