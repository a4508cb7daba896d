"""The claim ledger, and whether a comparison still stands."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qat_report import ReportError, compare, verify
from qat_report.comparing import assemble
from qat_report.finding import read_summaries


def claims_of(root, **options):
    found = assemble(read_summaries([root]), out=root, **{"gate": None, "exports": [], "choice": None} | options)
    return {claim.id: claim for claim in found.comparison.claims}


def rows(*parts):
    return tuple(f"yolo10n/seed{seed}/{method}" for method, seeds in parts for seed in seeds)


def test_sentence_rests_on_its_own_rows_and_on_those_it_is_paired_with(ladder):
    claims = claims_of(ladder("good", "collapsed")[0])
    assert claims["yolo10n/baseline"].rows == rows(("baseline", (0, 1, 2)))
    assert claims["yolo10n/ema"].rows == rows(("baseline", (0, 1)), ("ema", (0, 1)))
    assert claims["yolo10n/ema+qc"].rows == rows(("baseline", (0, 1)), ("ema", (0, 1)), ("ema+qc", (0, 1)))


def test_sentence_rests_on_every_row_whose_reference_enters_its_mean(ladder, ladder_row):
    claims = claims_of(ladder(ladder_row("good", 0), ladder_row("good", 3, fp32=0.5))[0])
    assert claims["yolo10n/baseline"].rows == ("yolo10n/seed0/baseline", "yolo10n/seed1/ema")


def test_answers_rest_on_the_rows_they_speak_of(ladder):
    claims = claims_of(ladder("good", "collapsed")[0])
    assert claims["start"].rows == ()
    assert {row.split("/")[-1] for row in claims["help"].rows} == {"baseline", "ema+qc"}
    assert len(claims["certainty"].rows) == 11
    assert claims["certainty"].text.startswith(
        "10 of 11 rows stable (yolo10n/seed2/baseline collapsed), from 5 training"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            [0.02, 0.03, 0.01],
            "yolo10n: yes, +0.0200 [+0.0100, +0.0300] against the baseline, in all of 3 seeds (few seeds).",
        ),
        (
            [-0.02] * 3,
            "yolo10n: no, it harms, -0.0200 [-0.0200, -0.0200] against the baseline, in all of 3 seeds (few seeds).",
        ),
        ([0.02, -0.01, 0.02], "yolo10n: no difference can be shown (+0.0100 [-0.0100, +0.0200], 3 seeds)."),
        (
            [0.02] * 12 + [-0.01],
            "yolo10n: yes, +0.0177 [+0.0131, +0.0200] against the baseline, in 12 of 13 seeds.",
        ),
        ([0.02, 0.03], "yolo10n: cannot be said from 2 seeds (+0.0250 [+0.0200, +0.0300])."),
    ],
)
def test_answer_whether_the_method_helps_follows_the_rule_of_the_verdict(ladder, ladder_row, changes, text):
    history = [0.1, 0.2, 0.3, 0.35, 0.3]
    made = [ladder_row("good", 0, seed=seed, history=[*history, 0.3]) for seed in range(len(changes))]
    made += [
        ladder_row("good", 4, seed=s, history=[*history, 0.3], qc=0.3 + change) for s, change in enumerate(changes)
    ]
    assert claims_of(ladder(*made)[0])["help"].text == text


def test_without_a_corrected_row_the_answer_is_that_nothing_was_measured(ladder, ladder_row):
    assert claims_of(ladder(ladder_row("good", 0))[0])["help"].text == "Not measured: no row is ema+qc."


@pytest.fixture(scope="session")
def whole(tmp_path_factory, request):
    """A compared root; copied by `compared`, since drawing it takes seconds."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def compared(traced, whole, tmp_path):
    """A root with two training runs, their summaries and their comparison."""
    if not any(whole.iterdir()):
        compare([traced(root=whole, seeds=(0, 1))], out=whole)
    shutil.copytree(whole, tmp_path / "root")
    return tmp_path / "root"


def test_comparison_that_nobody_touched_is_verified(compared):
    found = verify(compared)
    assert (found.faults, found.rows, found.claims, found.files) == ((), 6, 6, 14)
    assert verify(compared / "comparison.json") == found


def test_moved_tree_is_verified(compared, tmp_path):
    shutil.move(compared, tmp_path / "elsewhere")
    assert verify(tmp_path / "elsewhere").faults == ()


def test_changed_summary_is_named_with_the_rows_and_sentences_that_rest_on_it(compared):
    path = compared / "yolo10n/ema/seed1/run_summary.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.390625", "0.40625"), encoding="utf-8")
    (fault,) = verify(compared).faults
    assert str(fault) == (
        f"{path}: changed since the comparison was written; on it rest 1 row (n/seed1/ema) and 3 sentences "
        "(certainty, yolo10n/ema, yolo10n/ema+qc)"
    )


def test_changed_file_behind_a_summary_is_named_once_for_all_its_rows(compared):
    path = compared / "trajectories/seed0/metrics.jsonl"
    path.write_text("", encoding="utf-8")
    (fault,) = verify(compared).faults
    assert (fault.kind, fault.text) == ("changed", f"{path}: changed since the comparison was written")
    assert fault.rows == ("n/seed0/baseline", "n/seed0/ema", "n/seed0/ema+qc")


def test_file_that_is_gone_is_named(compared):
    (compared / "trajectories/seed0/qc/qc.json").unlink()
    (fault,) = verify(compared).faults
    assert (fault.kind, fault.rows, fault.claims) == (
        "missing",
        ("n/seed0/ema+qc",),
        ("help", "certainty", "yolo10n/ema+qc"),
    )


def edit(root, change):
    path = root / "comparison.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda d: d["rows"][0].update(final_value=0.9),
            "row 'n/seed0/baseline': final_value is 0.9, its inputs give 0.375",
        ),
        (
            lambda d: d["claims"][1].update(text="Yes."),
            "claim 'help': text is 'Yes.', its inputs give 'yolo10n: cannot be said from 2 seeds (+0.0312 [+0.0312, "
            "+0.0312]).'",
        ),
        (lambda d: d["claims"].pop(0), "claim 'start' is missing"),
        (lambda d: d["cells"][0].update(mean=0.9), "cells is not what its inputs give"),
        (lambda d: d["verdict"].append("All is well."), "verdict is not what its inputs give"),
        (lambda d: d["notes"].clear(), "notes is not what its inputs give"),
    ],
)
def test_edited_comparison_is_found_by_deriving_it_again(compared, change, text):
    path = edit(compared, change)
    assert [str(fault) for fault in verify(compared).faults] == [f"{path}: {text}"]


def test_sentence_of_another_version_is_said_to_be_that(compared):
    path = edit(compared, lambda d: d.update(created_by="qat-report 0.0.9", verdict=["Otherwise."]))
    (fault,) = verify(compared).faults
    assert str(fault).startswith(f"{path}: verdict is not what its inputs give (qat-report 0.0.9 wrote it, this is ")


@pytest.mark.parametrize("name", ["index.html", "summary.md"])
def test_edited_page_is_named(compared, name):
    with (compared / name).open("a", encoding="utf-8") as file:
        file.write(" ")
    assert [fault.text for fault in verify(compared).faults] == [
        f"{compared / name}: not the page that was written with comparison.json"
    ]


def test_comparison_of_two_roots_under_filters_is_verified(ladder, ladder_row, tmp_path):
    first, _ = ladder("good", root=tmp_path / "a")
    ladder(ladder_row("good", 0, set={"model.imgsz": 640}), root=tmp_path / "b")
    compare([first, tmp_path / "b"], out=tmp_path / "out", methods=["baseline", "ema"])
    assert verify(tmp_path / "out").faults == ()


def test_comparison_with_a_gate_rests_on_it_too(ladder, tmp_path):
    root, _ = ladder("good")
    decided = {
        "schema": "qat-gate/decision", "version": "1.0", "created_by": "qat-gate 0.1.0", "inputs": [],
        "gate_name": "yolo10m_allowed", "passed": True, "reason": "all criteria are met", "override": None,
        "criteria": [], "notes": [],
    }  # fmt: skip
    (root / "gate.json").write_text(json.dumps(decided), encoding="utf-8")
    compare([root], out=root, gate=root / "gate.json")
    assert verify(root).faults == ()
    (root / "gate.json").write_text(json.dumps(decided | {"passed": False}), encoding="utf-8")
    assert [str(fault) for fault in verify(root).faults] == [
        f"{root / 'gate.json'}: changed since the comparison was written; on it rest 1 sentence (start)"
    ]


def test_comparison_from_before_there_were_claims_is_refused(tmp_path):
    golden = Path(__file__).parent / "fixtures/comparison-1.0.json"
    with pytest.raises(ReportError, match=r"has no claims to verify; run `qat-report compare` again$"):
        verify(golden)


def qat_report(*arguments):
    command = [sys.executable, "-c", "from qat_report.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_exits_3_where_something_changed_and_0_where_nothing_did(compared):
    done = qat_report("verify", compared)
    text = f"{compared}/comparison.json: 6 sentences on 6 rows and 14 files, all unchanged\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")
    (compared / "summary.md").unlink()
    done = qat_report("verify", compared, "--json")
    assert done.returncode == 3
    assert done.stderr == f"error: {compared}/summary.md: not the page that was written with comparison.json\n"
    assert [fault["kind"] for fault in json.loads(done.stdout)["faults"]] == ["page"]
