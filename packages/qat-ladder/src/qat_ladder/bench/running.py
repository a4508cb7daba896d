"""Groups measured one after the other; each leaves its record as soon as it is done."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs

import qat_artifacts
from qat_ladder.bench.case import Case, Contestant, Group, Setup
from qat_ladder.bench.judging import differing
from qat_ladder.bench.process import Failed, missing, run
from qat_ladder.bench.record import Benchmark, Comparison, Result, machine, public, versions
from qat_ladder.tasks import PROJECT
from qat_ladder.version import CREATED_BY


def measure(group: Group, setup: Setup, *, rounds: int | None = None) -> Benchmark:
    """Measure every case of a group; `rounds` instead of those that the cases ask for."""
    here, began = machine(), time.perf_counter()
    comparisons = [_measure_case(group, case, setup, rounds or case.rounds) for case in group.cases(setup)]
    return Benchmark(
        group=group.name,
        title=group.title,
        about=group.about,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        part=setup.part,
        seconds=time.perf_counter() - began,
        machine=here,
        versions=versions(),
        comparisons=tuple(comparisons),
    )


def _measure_case(group: Group, case: Case, setup: Setup, rounds: int) -> Comparison:
    """Contestants take turns; every other round goes backwards, so that none always follows the same one."""
    results = {c.name: _empty(c, setup) for c in case.contestants}
    for number in range(-1 if case.warm else 0, rounds):
        for contestant in case.contestants if number % 2 == 0 else case.contestants[::-1]:
            so_far = results[contestant.name]
            if so_far.absent or so_far.failed:
                continue
            shown = f"{group.name}/{case.name}: {contestant.name}, " + (
                f"{number + 1} of {rounds}" if number >= 0 else "not counted"
            )
            try:
                one = run(contestant, setup.work)
            except Failed as error:
                results[contestant.name] = attrs.evolve(so_far, failed=str(error))
                setup.tell(f"{shown}: {error}")
                continue
            setup.tell(f"{shown}: {one.seconds:.3f} s, {one.peak_mb:.0f} MB")
            if number >= 0:
                results[contestant.name] = attrs.evolve(so_far, runs=(*so_far.runs, one))
    return Comparison(
        name=case.name,
        title=case.title,
        about=case.about,
        reference=case.reference,
        targets=case.targets,
        equal=case.equal,
        results=tuple(results.values()),
    )


def _empty(contestant: Contestant, setup: Setup) -> Result:
    names = {contestant.command[0]: Path(contestant.command[0]).name, str(setup.work): "WORK"}
    if setup.data is not None:
        names[str(setup.data)] = "$QAT_TEST_DATA"
    names[str(PROJECT)] = "."  # last: the others may lie in it
    return Result(
        name=contestant.name,
        command=public(contestant.command, names),
        line=contestant.line,
        size=contestant.size,
        absent=missing(contestant) or None,
    )


def record_path(out: Path, group: str) -> Path:
    """Where a group's record lies below the folder of the page."""
    return out / "benchmarks" / f"{group}.json"


def measure_groups(groups: Sequence[Group], setup: Setup, out: Path, *, rounds: int | None = None) -> list[Benchmark]:
    """Measure groups and write the record of each below `out` when it is done.

    Raises:
        OSError: the record or an input cannot be written.
    """
    done = []
    for number, group in enumerate(groups, 1):
        setup.tell(f"{group.name}: {group.title} ({number} of {len(groups)})")
        benchmark = measure(group, setup, rounds=rounds)
        qat_artifacts.write(record_path(out, group.name), benchmark, created_by=CREATED_BY)
        setup.tell(f"{group.name}: {benchmark.seconds:.0f} s")
        done.append(benchmark)
    return done


def failures(measured: Sequence[Benchmark]) -> list[str]:
    """What ran and failed, or did not give the same as its peers; what could not run here is no failure."""
    found = []
    for benchmark in measured:
        for comparison in benchmark.comparisons:
            where = f"{benchmark.group}/{comparison.name}"
            found += [f"{where}: {r.name}: {r.failed}" for r in comparison.results if r.failed]
            found += [f"{where}: {text}" for text in differing(comparison)]
    return found
