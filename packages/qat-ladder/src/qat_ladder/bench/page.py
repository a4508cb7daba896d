"""docs/benchmarks.md: tables, plots and verdicts, from the records alone."""

from collections.abc import Sequence
from pathlib import Path

import qat_artifacts
from qat_ladder.bench.case import Group
from qat_ladder.bench.figure import svg
from qat_ladder.bench.judging import Verdict, best, differing, judge, ratio, typical
from qat_ladder.bench.record import Benchmark, Comparison, Result
from qat_ladder.bench.running import record_path
from qat_ladder.bench.spelling import amount, megabytes, seconds, subject, times
from qat_ladder.campaign.markdown import ABSENT, bullets, code, escape, shell, table

_INTRODUCTION = """\
Made by `invoke bench --out docs` from the records in `docs/benchmarks`, which hold every run. A row of a table is a
command in a process of its own, and the rows of a table took turns: what slows the machine down slows all of them. Time
is that of the wall; best and median are over the rounds, a ratio is the median of the ratios within a round. CPU time
and peak memory (10⁶ bytes) are the kernel's, of the process and the children it waited for. No test asserts a time.
"""


def write_page(groups: Sequence[Group], out: Path) -> Path:
    """Write benchmarks.md, and a plot of every case that has runs, below `out`, from the records there.

    Raises:
        ArtifactError: a record cannot be read.
        OSError: the page cannot be written.
    """
    found = {
        group.name: qat_artifacts.read(path, Benchmark)
        for group in groups
        if (path := record_path(out, group.name)).exists()
    }
    for benchmark in found.values():
        for comparison in benchmark.comparisons:
            if _measured(comparison):
                qat_artifacts.write_text(out / _plot(benchmark, comparison), svg(comparison))
    page = out / "benchmarks.md"
    qat_artifacts.write_text(page, render(groups, found))
    return page


def _measured(comparison: Comparison) -> bool:
    return any(result.runs for result in comparison.results)


def _plot(benchmark: Benchmark, comparison: Comparison) -> str:
    return f"benchmarks/{benchmark.group}-{comparison.name}.svg"


def render(groups: Sequence[Group], found: dict[str, Benchmark]) -> str:
    """The page. Groups without a record are named as not measured."""
    parts = ["# Benchmarks\n", _INTRODUCTION, _overview(groups, found)]
    for group in groups:
        parts.append(f"## {escape(group.title)}\n")
        if group.name in found:
            parts += _section(found[group.name])
        else:
            parts.append(f"Not measured yet: `invoke bench --only {group.name} --out docs`.\n")
    return "\n".join(parts)


def _overview(groups: Sequence[Group], found: dict[str, Benchmark]) -> str:
    """Every target of every group, in one table."""
    rows = []
    for group in groups:
        if group.name not in found:
            rows.append((group.title, "not measured", ABSENT, ABSENT, ABSENT))
            continue
        for comparison in found[group.name].comparisons:
            rows += [(group.title, *_verdict(verdict)) for verdict in judge(comparison)]
    return table(("group", "target", "at most", "measured", "met"), rows)


def _verdict(verdict: Verdict) -> tuple[str, str, str, str]:
    target, value = verdict.target, verdict.value
    if value is None:
        return subject(target), amount(target, target.at_most), ABSENT, "not measured"
    excess = f"no: {(value / target.at_most - 1) * 100:.0f} % over"
    return subject(target), amount(target, target.at_most), amount(target, value), "yes" if verdict.met else excess


def _section(benchmark: Benchmark) -> list[str]:
    machine = benchmark.machine
    counted = ", ".join(f"{name} {version}" for name, version in benchmark.versions.items())
    part = "" if benchmark.part == 1 else f" At {benchmark.part:g} of the full sizes."
    parts = [
        f"{benchmark.about}{part}\n",
        f"Measured {benchmark.measured_at} in {seconds(benchmark.seconds)}: {machine.processor}, {machine.cores} "
        f"core{'s' if machine.cores > 1 else ''}, {machine.memory_gb:g} GB, {machine.system}, Python {machine.python}; "
        f"load before {machine.load:g}. {counted}.\n",
    ]
    for comparison in benchmark.comparisons:
        parts += [f"### {escape(comparison.title)}\n", *([f"{comparison.about}\n"] if comparison.about else [])]
        if _measured(comparison):
            parts.append(f"![{escape(comparison.title)}]({_plot(benchmark, comparison)})\n")
        parts.append(_table(comparison))
        if notes := _notes(comparison):
            parts.append(bullets(notes))
        parts += ["Commands:\n", code(f"{r.name}: {_command(r)}" for r in comparison.results)]
    return parts


def _command(result: Result) -> str:
    """On one line; a program given by `-c` is in the record, whole."""
    lines = shell(result.command).splitlines()
    return lines[0] + (" ..." if len(lines) > 1 else "")


def _table(comparison: Comparison) -> str:
    reference = next((r for r in comparison.results if r.name == comparison.reference), None)
    columns = ["", "best", "median", "CPU", "peak memory", "rounds"]
    if reference:
        columns.append(f"over {reference.name}")
    rows = []
    for result in comparison.results:
        cpu, peak = typical(result, "cpu"), typical(result, "peak_mb")
        row = [
            result.name,
            *(ABSENT if value is None else seconds(value) for value in (best(result), typical(result), cpu)),
            ABSENT if peak is None else megabytes(peak),
            str(len(result.runs)),
        ]
        if reference:
            over = ratio(result, reference)
            row.append(ABSENT if over is None else times(over))
        rows.append(row)
    return table(columns, rows)


def _notes(comparison: Comparison) -> list[str]:
    """Verdicts, whether results are equal, and what could not be measured."""
    notes = []
    for verdict in judge(comparison):
        name, bound, value, met = _verdict(verdict)
        notes.append(f"{name}: {value}, at most {bound}: {met}")
    if comparison.equal:
        notes += differing(comparison) or [f"the same for all: {', '.join(comparison.equal)}"]
    for result in comparison.results:
        printed = result.runs[-1].printed if result.runs else {}
        if said := [f"{name} {value}" for name, value in printed.items() if name not in comparison.equal]:
            notes.append(f"{result.name}, its last round: {', '.join(said)}")
    notes += [f"{r.name}: not measured: {r.absent}" for r in comparison.results if r.absent]
    return notes + [f"{r.name}: failed: {r.failed}" for r in comparison.results if r.failed]
