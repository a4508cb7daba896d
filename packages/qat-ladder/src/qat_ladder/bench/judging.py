"""From runs to ratios, exponents and verdicts; pure functions over a record."""

import math
from itertools import pairwise
from statistics import median

import attrs

from qat_ladder.bench.case import Quantity, Target
from qat_ladder.bench.record import Comparison, Result, Run


def quantity(run: Run, of: Quantity) -> float:
    """Seconds, CPU seconds or megabytes of one run."""
    return {"seconds": run.seconds, "cpu": run.cpu, "peak_mb": run.peak_mb}[of]


def typical(result: Result, of: Quantity = "seconds") -> float | None:
    """Median over the runs; None without one."""
    return median(quantity(run, of) for run in result.runs) if result.runs else None


def best(result: Result) -> float | None:
    """The shortest run in seconds: the one that others on the machine disturbed least. None without one."""
    return min((run.seconds for run in result.runs), default=None)


def ratio(result: Result, reference: Result, of: Quantity = "seconds") -> float | None:
    """Median over the rounds of one over the other, each pair measured one after the other. None where one is missing.

    A machine that is slow for some rounds is so for both sides, which a quotient of medians does not know.
    """
    pairs = [
        (quantity(ours, of), quantity(theirs, of)) for ours, theirs in zip(result.runs, reference.runs, strict=False)
    ]
    return median(a / b for a, b in pairs) if pairs and all(b > 0 for _, b in pairs) else None


def points(comparison: Comparison, line: str) -> list[tuple[float, float]]:
    """(size, shortest seconds) of a line that were measured, by size."""
    found = [(r.size, best(r)) for r in comparison.results if r.line == line]
    return sorted((size, seconds) for size, seconds in found if size is not None and seconds is not None)


def exponent(comparison: Comparison, line: str) -> float | None:
    """The steepest log-log slope between neighbouring sizes of a line; None below two points.

    A fixed cost plus a linear one has slopes below 1 everywhere, whatever the two are.
    """
    known = points(comparison, line)
    slopes = [
        math.log(later / sooner) / math.log(larger / smaller) for (smaller, sooner), (larger, later) in pairwise(known)
    ]
    return max(slopes, default=None)


@attrs.frozen
class Verdict:
    """A target, what was measured of it, and whether that is within; None where it was not measured."""

    target: Target
    value: float | None

    @property
    def met(self) -> bool | None:
        """None where it was not measured."""
        return None if self.value is None else self.value <= self.target.at_most


def judge(comparison: Comparison) -> list[Verdict]:
    """Every target of a case."""
    return [Verdict(target, _value(comparison, target)) for target in comparison.targets]


def _value(comparison: Comparison, target: Target) -> float | None:
    if target.of == "exponent":
        return exponent(comparison, target.contestant)
    by_name = {result.name: result for result in comparison.results}
    ours = by_name[target.contestant]
    return typical(ours, target.of) if target.to is None else ratio(ours, by_name[target.to], target.of)


def differing(comparison: Comparison) -> list[str]:
    """For each key of `equal` whose values differ, a sentence with the values."""
    found = []
    for key in comparison.equal:
        values = {r.name: r.runs[-1].printed.get(key, "nothing") for r in comparison.results if r.runs}
        if len(set(values.values())) > 1:
            found.append(f"{key} differs: " + "; ".join(f"{name}: {value}" for name, value in values.items()))
    return found
