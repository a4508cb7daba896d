"""Paired differences over seeds, and what so few of them can say.

The interval is the bootstrap's percentile interval of the mean: Efron and Tibshirani, An Introduction to the Bootstrap
(1993), chapter 13. Nothing here draws anything that differs between two calls: every resample is enumerated while there
are few, and beyond that 10,000 are drawn from a fixed seed.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from itertools import combinations_with_replacement
from math import comb, factorial, fsum, prod
from typing import TYPE_CHECKING

from qat_report.comparison import BootstrapInterval, PairedDelta

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENUMERATED = 8  # seeds: comb(15, 8) = 6435 distinct resamples stand for all 8**8; beyond that they are drawn
DRAWN = 10_000
SIGN_TEST_FROM = 5  # seeds: with 4 the smallest p there is would be 0.125
_TAIL = 40  # one in 40 of the resamples lies outside on either side: 95 %


def pair(differences: Mapping[int, float]) -> PairedDelta:
    """Statistics of differences of two rows by seed; at least one seed."""
    values = list(differences.values())
    better, worse = sum(value > 0.0 for value in values), sum(value < 0.0 for value in values)
    return PairedDelta(
        n=len(values),
        mean=_mean(values),
        minimum=min(values),
        maximum=max(values),
        interval=bootstrap_interval(values),
        better=better,
        worse=worse,
        sign_test_p=sign_test(better, worse) if len(values) >= SIGN_TEST_FROM else None,
        worst_seed=min(differences, key=lambda seed: (differences[seed], seed)),
        differences={str(seed): differences[seed] for seed in sorted(differences)},
    )


def bootstrap_interval(values: Sequence[float]) -> BootstrapInterval | None:
    """The 95 % percentile interval of the mean of `values`; None for a single one, which has no spread.

    Its ends are the values of the bootstrap distribution that 2.5 % of it do not exceed, or do not fall below. It is a
    function of the values alone, whatever their order, and changes sign with them.
    """
    if len(values) < 2:
        return None
    ordered = sorted(values)
    exhaustive = len(ordered) <= ENUMERATED
    means = sorted(_every_resample(ordered)) if exhaustive else _drawn_resamples(ordered)
    return BootstrapInterval(
        low=_end(means),
        high=_end(list(reversed(means))),
        method="exhaustive" if exhaustive else "resampled",
    )


def sign_test(above: int, below: int) -> float:
    """Two-sided p of a sign test on `above` positive and `below` negative differences; ties are left out.

    P(at least max(above, below) of n equal signs) under a fair coin, doubled; Conover, Practical Nonparametric
    Statistics, section 3.4.
    """
    number = above + below
    tail = sum(comb(number, k) for k in range(max(above, below), number + 1))
    return min(1.0, 2 * tail * 0.5**number)


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)  # fsum: the same for every order of the seeds


def _every_resample(values: Sequence[float]) -> Iterator[tuple[float, int]]:
    """(mean, how many of the n**n resamples have these members), one for each choice of members."""
    orders = factorial(len(values))
    for indices in combinations_with_replacement(range(len(values)), len(values)):
        repeated = prod(map(factorial, Counter(indices).values()))
        yield _mean([values[i] for i in indices]), orders // repeated


def _drawn_resamples(ordered: Sequence[float]) -> list[tuple[float, int]]:
    """(mean, 1) of each resample, by the mean. Every draw is used twice, as it is and mirrored in the values' order.

    Antithetic resampling (Hall, Biometrika 76, 1989): the interval loses variance, and gains exact symmetry.
    """
    import numpy as np

    draws = _draws(len(ordered))
    # One addition after the other, in the order of the draw: numpy's own sum depends on the machine's vectors.
    halves = [reduce(np.add, np.asarray(values)[draws]) for values in (ordered, ordered[::-1])]
    means = np.sort(np.concatenate(halves)) / len(ordered)
    return [(mean, 1) for mean in means.tolist()]


@lru_cache(maxsize=4)  # a report draws for the same few numbers of seeds again and again
def _draws(number: int) -> "NDArray[np.intp]":
    """Shape (number, draws): each column picks `number` of `number` values, with repetition; the same in every call."""
    import numpy as np

    source = random.Random(0)  # noqa: S311 - a resample, no secret
    # random() alone is promised to give the same numbers in every version of Python.
    drawn = [[int(number * source.random()) for _ in range(number)] for _ in range(DRAWN // 2)]
    return np.asarray(drawn, dtype=np.intp).T.copy()


def _end(means: Iterable[tuple[float, int]]) -> float:
    """The first mean at which one in 40 of the resamples is reached, counted from the start of `means`."""
    found = list(means)
    total = sum(weight for _, weight in found)
    reached = 0
    for value, weight in found:
        reached += weight
        if reached * _TAIL >= total:
            return value
    raise AssertionError("there is no resample")
