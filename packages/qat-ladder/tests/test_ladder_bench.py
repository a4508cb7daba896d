"""`invoke bench`: processes measured in turns, verdicts from ratios, and a page that leaves nothing out in silence."""

import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qat_artifacts
from qat_ladder.bench import Case, Contestant, Group, Setup, Target, python
from qat_ladder.bench.asking import parse_part, parse_rounds
from qat_ladder.bench.figure import svg
from qat_ladder.bench.groups import GROUPS, load
from qat_ladder.bench.inputs import made_once, sizes
from qat_ladder.bench.judging import differing, exponent, judge, ratio
from qat_ladder.bench.page import render, write_page
from qat_ladder.bench.process import Failed, run
from qat_ladder.bench.record import Benchmark, Comparison, Machine, Result, Run, public
from qat_ladder.bench.running import failures, measure_groups, record_path
from qat_ladder.bench.summaries import golden, write_summaries
from qat_ladder.errors import ConfigError
from qat_ladder.launch import call

REPOSITORY = Path(__file__).parents[3]


def says(text, **keys):
    return Contestant(command=python("-c", f"print({text!r})"), timed="printed", **keys)


def took(*seconds, name="ours", peak=10.0, **keys):
    return Result(name=name, command=("x",), runs=[Run(seconds=s, cpu=s, peak_mb=peak) for s in seconds], **keys)


def comparison(*results, targets=(), reference=None, equal=()):
    return Comparison(
        name="case", title="A case", about="", reference=reference, targets=targets, equal=equal, results=results
    )


MACHINE = Machine(processor="P", cores=2, memory_gb=8, system="Linux 6", python="3.11.7", load=0.1)


def benchmark(*comparisons, group="data", part=1.0):
    return Benchmark(
        group=group, title="Data", about="What it is.", measured_at="2026-01-02T03:04:05+00:00", part=part, seconds=3.0,
        machine=MACHINE, versions={"numpy": "2.0"}, comparisons=comparisons,
    )  # fmt: skip


def empty(name):
    return Group(name=name, title=name.title(), about="", cases=lambda _: [])


def test_a_process_is_measured_apart_from_the_memory_of_who_starts_it(tmp_path):
    ballast = bytearray(300_000_000)
    one = run(Contestant(name="x", command=python("-c", "sum(range(10**6))")), tmp_path)
    assert len(ballast) == 300_000_000
    assert 0 < one.peak_mb < 100
    assert one.cpu > 0
    assert one.seconds > 0


def test_memory_and_cpu_of_a_contestant_are_seen(tmp_path):
    small, large = (
        run(Contestant(name="x", command=python("-c", f"x = bytearray({size})")), tmp_path)
        for size in (1_000, 100_000_000)
    )
    assert large.peak_mb - small.peak_mb == pytest.approx(100, abs=15)


def test_a_contestant_may_time_itself_and_say_more(tmp_path):
    one = run(says('loading\n{"seconds": 12.5, "hash": "abc", "n": 3}', name="x"), tmp_path)
    assert (one.seconds, one.printed) == (12.5, {"hash": "abc", "n": "3"})


@pytest.mark.parametrize("text", ["", "done", "[1]", '{"seconds": "soon"}', '{"time": 1}'])
def test_who_times_itself_must_say_so(text, tmp_path):
    with pytest.raises(Failed, match='the last line of stdout is no JSON object with a number as "seconds"'):
        run(says(text, name="x"), tmp_path)


def test_a_failure_is_told_by_code_and_last_line(tmp_path):
    command = python("-c", "import sys; print('error: no disk', file=sys.stderr); sys.exit(7)")
    with pytest.raises(Failed, match="exit code 7: error: no disk"):
        run(Contestant(name="x", command=command), tmp_path)
    with pytest.raises(Failed, match="exit code 137: no output"):
        run(Contestant(name="x", command=python("-c", "import os; os.kill(os.getpid(), 9)")), tmp_path)


def noting(path, name):
    return Contestant(name=name, command=python("-c", f"open({str(path)!r}, 'a').write({name!r})"))


@pytest.fixture
def measured(tmp_path):
    """Measure cases as a group called data; returns its record and the lines that were told."""

    def go(*cases, rounds=None):
        told = []
        setup = Setup(work=tmp_path, tell=told.append)
        group = Group(name="data", title="Data", about="What it is.", cases=lambda _: cases)
        (found,) = measure_groups([group], setup, tmp_path / "out", rounds=rounds)
        return found, told

    return go


def test_contestants_take_turns_and_the_next_round_goes_backwards(measured, tmp_path):
    case = Case(name="a", title="A", rounds=3, contestants=[noting(tmp_path / "log", c) for c in "xyz"])
    found, _ = measured(case)
    assert (tmp_path / "log").read_text() == "xyzzyxxyz"
    assert [len(result.runs) for result in found.comparisons[0].results] == [3, 3, 3]


def test_a_warm_case_runs_once_more_than_it_counts(measured, tmp_path):
    case = Case(name="a", title="A", rounds=5, warm=True, contestants=[noting(tmp_path / "log", "x")])
    found, told = measured(case, rounds=2)
    assert (tmp_path / "log").read_text() == "xxx"
    assert len(found.comparisons[0].results[0].runs) == 2
    assert told[1].startswith("data/a: x, not counted: ")


def test_what_fails_or_cannot_run_is_named_and_the_others_go_on(measured, tmp_path):
    case = Case(
        name="a",
        title="A",
        rounds=2,
        contestants=[
            Contestant(name="bad", command=python("-c", "raise SystemExit('error: gone')")),
            Contestant(name="elsewhere", command=("x",), needs=("no_such_module_anywhere",)),
            Contestant(name="unfit", command=("x",), missing="no GPU"),
            noting(tmp_path / "log", "good"),
        ],
    )
    found, _ = measured(case)
    assert failures([found]) == ["data/a: bad: exit code 1: error: gone"]
    absent = {result.name: result.absent for result in found.comparisons[0].results}
    assert absent == {
        "bad": None,
        "elsewhere": "not installed: no_such_module_anywhere",
        "unfit": "no GPU",
        "good": None,
    }
    assert (tmp_path / "log").read_text() == "goodgood"


def test_output_of_the_run_before_is_removed_first(measured, tmp_path):
    folder = tmp_path / "made"
    case = Case(
        name="a",
        title="A",
        contestants=[
            Contestant(
                name="x",
                command=python("-c", f"import os; os.mkdir({str(folder)!r})"),
                before=lambda: folder.exists() and folder.rmdir(),
            )
        ],
    )
    found, _ = measured(case)
    assert len(found.comparisons[0].results[0].runs) == 3


def test_a_record_holds_no_folder_of_the_machine(measured, tmp_path):
    case = Case(name="a", title="A", contestants=[Contestant(name="x", command=python("-c", "", tmp_path / "in.json"))])
    found, _ = measured(case, rounds=1)
    (result,) = found.comparisons[0].results
    assert result.command[1:] == ("-c", "", "WORK/in.json")
    text = record_path(tmp_path / "out", "data").read_text()
    assert str(tmp_path) not in text
    assert sys.executable not in text
    assert qat_artifacts.read(record_path(tmp_path / "out", "data"), Benchmark) == found


def test_the_longest_folder_is_replaced_first():
    assert public(["/a/b/c", "/a/x"], {"/a": "DATA", "/a/b": "WORK"}) == ("WORK/c", "DATA/x")


def test_different_results_are_a_failure(measured):
    same = [says('{"seconds": 1, "ap": "0.5"}', name=name) for name in ("ours", "theirs")]
    other = says('{"seconds": 1, "ap": "0.6"}', name="another")
    equal, _ = measured(Case(name="a", title="A", rounds=1, equal=("ap",), contestants=same))
    assert failures([equal]) == []
    wrong, _ = measured(Case(name="a", title="A", rounds=1, equal=("ap",), contestants=[*same, other]))
    assert failures([wrong]) == ["data/a: ap differs: ours: 0.5; theirs: 0.5; another: 0.6"]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"reference": "z"}, "case a: 'z' is not among the contestants"),
        ({"targets": [Target(contestant="z", at_most=1)]}, "case a: the target's 'z' is not among"),
        ({"targets": [Target(contestant="x", at_most=1, to="z")]}, "case a: 'z' is not among the contestants"),
        ({"targets": [Target(contestant="x", at_most=1, of="exponent")]}, "case a: the target's 'x' is not among"),
        ({"contestants": [Contestant(name="x", command=("x",))] * 2}, "case a: two contestants have one name: x, x"),
    ],
)
def test_a_case_that_names_nobody_cannot_be_made(keys, text):
    with pytest.raises(ValueError, match=text):
        Case(**{"name": "a", "title": "A", "contestants": [Contestant(name="x", command=("x",))]} | keys)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=5), st.floats(0.01, 100))
def test_a_ratio_is_that_of_each_round_however_the_machine_slows_down(rounds, factor):
    ours = took(*(seconds * factor for seconds in rounds))
    assert ratio(ours, took(*rounds, name="theirs")) == pytest.approx(factor)


@given(st.floats(0, 10), st.floats(0.001, 10), st.lists(st.integers(1, 10**6), min_size=2, max_size=5, unique=True))
def test_a_fixed_cost_and_a_linear_one_never_grow_faster_than_linear(fixed, each, numbers):
    results = [took(fixed + each * n, name=str(n), line="a", size=float(n)) for n in numbers]
    assert exponent(comparison(*results), "a") <= 1 + 1e-6


def test_quadratic_growth_between_two_sizes_is_seen_although_the_rest_is_flat():
    results = [took(s, name=str(n), line="a", size=float(n)) for n, s in ((1, 5.0), (10, 5.0), (100, 500.0))]
    assert exponent(comparison(*results), "a") == pytest.approx(2)
    (verdict,) = judge(comparison(*results, targets=(Target(contestant="a", of="exponent", at_most=1.1),)))
    assert verdict.met is False


def test_targets_are_judged_and_what_was_not_measured_is_neither_met_nor_missed():
    found = comparison(
        took(1.0, peak=300.0),
        took(4.0, name="theirs", peak=1000.0),
        Result(name="gone", command=("x",), absent="no GPU"),
        targets=(
            Target(contestant="ours", to="theirs", at_most=0.2),
            Target(contestant="ours", to="theirs", at_most=0.4, of="peak_mb"),
            Target(contestant="ours", at_most=2),
            Target(contestant="gone", to="ours", at_most=2),
        ),
    )
    assert [(v.value, v.met) for v in judge(found)] == [(0.25, False), (0.3, True), (1.0, True), (None, None)]


def test_the_page_says_what_was_missed_by_how_much_and_what_was_not_measured():
    found = comparison(
        took(1.0, 1.2),
        took(4.0, 4.8, name="theirs"),
        Result(name="gone", command=("x",), absent="no GPU"),
        Result(name="bad", command=("python", "-c", "a\nb"), failed="exit code 3: no"),
        reference="theirs",
        targets=(Target(contestant="ours", to="theirs", at_most=0.2), Target(contestant="gone", at_most=1)),
    )
    page = render([empty("data"), empty("train")], {"data": benchmark(found, part=0.05)})
    assert "| Data | ours: time, over that of theirs | 0.2 × | 0.25 × | no: 25 % over |" in page
    assert "| Data | gone: time | 1 s | – | not measured |" in page
    assert "| Train | not measured | – | – | – |" in page
    assert "Not measured yet: `invoke bench --only train --out docs`." in page
    assert "| ours | 1 s | 1.1 s | 1.1 s | 10 MB | 2 | 0.25 × |" in page
    assert "- gone: not measured: no GPU\n- bad: failed: exit code 3: no\n" in page
    assert "At 0.05 of the full sizes." in page
    assert "P, 2 cores, 8 GB, Linux 6, Python 3.11.7; load before 0.1. numpy 2.0." in page


def test_the_page_is_written_with_a_plot_of_each_case_and_is_the_same_again(tmp_path):
    curve = [took(0.1 * n, name=str(n), line="a", size=float(n)) for n in (1, 10, 100)]
    bars = attrs.evolve(comparison(took(1.0), took(2.0, name="theirs"), reference="theirs"), name="bars")
    nothing = attrs.evolve(comparison(Result(name="gone", command=("x",), absent="no GPU")), name="nothing")
    record = benchmark(comparison(*curve), bars, nothing)
    qat_artifacts.write(record_path(tmp_path, "data"), record, created_by="qat-ladder 0.1.0")
    page = write_page([empty("data")], tmp_path)
    plots = {path.name: path.read_text() for path in (tmp_path / "benchmarks").glob("*.svg")}
    assert sorted(plots) == ["data-bars.svg", "data-case.svg"]
    assert all(f"(benchmarks/{name})" in page.read_text() for name in plots)
    assert "ours: 1 s; theirs: 2 s" in plots["data-bars.svg"]
    assert svg(bars) == plots["data-bars.svg"]


def test_differing_results_are_on_the_page():
    results = [Result(name=n, command=("x",), runs=[Run(seconds=1, cpu=1, peak_mb=1, printed={"ap": n})]) for n in "ab"]
    found = comparison(*results, equal=("ap",))
    assert differing(found) == ["ap differs: a: a; b: b"]
    assert "- ap differs: a: a; b: b\n" in render([empty("data")], {"data": benchmark(found)})


def test_what_a_command_says_beside_its_time_is_listed():
    runs = [Run(seconds=1, cpu=1, peak_mb=1, printed={"ap": "0.5", "references": n}) for n in ("9 s", "2 s")]
    found = comparison(Result(name="ours", command=("x",), runs=runs), equal=("ap",))
    assert "- ours, its last round: references 2 s\n" in render([empty("data")], {"data": benchmark(found)})


def test_flags_are_checked():
    assert (parse_part("0.05"), parse_rounds("3"), parse_rounds("")) == (0.05, 3, None)
    for text in ("0", "1.5", "nan", "much"):
        with pytest.raises(ConfigError, match=r"expected a number above 0 up to 1, such as 0\.05"):
            parse_part(text)
    for text in ("0", "-1", "1.5", "²"):
        with pytest.raises(ConfigError, match="expected an integer from 1, such as 3"):
            parse_rounds(text)
    with pytest.raises(ConfigError, match=r"--only speed: no such group; there are .*data, metrics"):
        load(["speed"])


def test_every_group_loads_without_what_its_peers_need_and_in_the_order_of_the_page():
    assert tuple(group.name for group in load()) == GROUPS
    assert [group.name for group in load(["startup", "data"])] == ["data", "startup"]


def test_an_input_that_was_cut_off_is_made_again(tmp_path):
    def cut_off(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "in", cut_off)
    assert made_once(tmp_path / "in", lambda path: path.write_text("whole")).read_text() == "whole"
    assert made_once(tmp_path / "in", cut_off).read_text() == "whole"


def test_sizes_under_a_part_are_named_once(tmp_path):
    assert sizes(Setup(work=tmp_path, part=0.01), (10, 100, 1000)) == [1, 10]


def test_drawn_summaries_are_compared_like_any(tmp_path):
    write_summaries(tmp_path / "root", json.loads(golden(REPOSITORY).read_bytes()), 40)
    call("qat-report", "compare", tmp_path / "root", "--out", tmp_path / "out")
    compared = json.loads((tmp_path / "out" / "comparison.json").read_bytes())
    assert len(compared["rows"]) == 40
    assert {cell["method"] for cell in compared["cells"]} >= {"baseline", "ema+qc"}


def test_the_list_of_tasks_imports_no_configuration_and_no_plot():
    heavy = "[m for m in ('tomli_w', 'rich', 'matplotlib', 'numpy', 'torch', 'qat_ladder.compose') if m in sys.modules]"
    program = f"import sys; from qat_ladder import tasks; tasks.collection(); print({heavy})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_public_names_stay_functions_where_a_module_has_the_same_name():
    program = "import qat_ladder.compose; from qat_ladder import compose; print(type(compose).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "function\n"
