"""Paired statistics against an enumeration of their own, and the wording of every number of seeds."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qat_report.paired import bootstrap_interval, pair, sign_test
from qat_report.verdict import difference_sentence, shows_difference

# Sums of multiples of 2**-12 are exact, as is everything the tests below compare with.
DIFFERENCES = st.integers(-400, 400).map(lambda number: number / 4096)


def enumerated(values):
    """The interval from all n**n resamples: 2.5 % of them lie at or beyond each end."""
    size = len(values)
    means = sorted(sum(resample) / size for resample in product(values, repeat=size))
    place = -(-len(means) // 40)  # the first at which 2.5 % are reached
    return means[place - 1], means[-place]


def by_seed(*values):
    return pair(dict(enumerate(values)))


@pytest.mark.parametrize(
    "values",
    [
        [0.25, 0.5],
        [0.0, 0.0, 0.75],
        [-0.125, 0.25, 0.5],
        [0.0625, 0.125, 0.25, 0.5],
        [-0.25, 0.0, 0.0625, 0.125, 0.5],
        [0.5, 0.25, 0.25, 0.125, -0.0625, -0.5],
        [0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5],
    ],
)
def test_interval_is_that_of_an_independent_enumeration(values):
    found = bootstrap_interval(values)
    assert (found.low, found.high) == pytest.approx(enumerated(values), abs=1e-15)
    assert (found.method, found.level) == ("exhaustive", 0.95)


def test_planted_difference_of_five_seeds_has_the_known_interval():
    # 3125 resamples, 79 of them outside on either side. The lowest sums are 5 (1), 6 (5), 7 (15), 8 (35) and 9 (70
    # resamples): the 79th is a 9, a mean of 1.8, and its mirror is 4.2.
    found = by_seed(*(number / 64 for number in (1, 2, 3, 4, 5)))
    assert (found.mean, found.interval.low, found.interval.high) == pytest.approx((3 / 64, 1.8 / 64, 4.2 / 64))


@pytest.mark.parametrize("number", [2, 3])
def test_interval_of_two_or_three_seeds_is_their_range(number):
    values = [0.125, 0.25, 0.75][:number]
    found = bootstrap_interval(values)
    assert (found.low, found.high) == (min(values), max(values))


def test_one_seed_has_no_interval():
    assert bootstrap_interval([0.25]) is None
    assert by_seed(0.25).interval is None


@settings(deadline=None, max_examples=40)
@given(st.lists(DIFFERENCES, min_size=2, max_size=10), st.randoms(use_true_random=False))
def test_interval_holds_the_mean_and_changes_sign_and_forgets_the_order(values, source):
    found = bootstrap_interval(values)
    assert found.low <= by_seed(*values).mean <= found.high
    flipped = bootstrap_interval([-value for value in values])
    assert (flipped.low, flipped.high) == (-found.high, -found.low)
    shuffled = source.sample(values, len(values))
    assert bootstrap_interval(shuffled) == found
    assert by_seed(*shuffled).mean == by_seed(*values).mean


def test_many_seeds_are_resampled_from_a_fixed_seed_near_the_exact_interval():
    values = [number / 64 for number in range(9)]
    found = bootstrap_interval(values)
    assert found.method == "resampled"
    assert found == bootstrap_interval(values)
    spread = 1.96 * (60 / 9 / 9) ** 0.5 / 64  # normal approximation: the mean's standard error, times 1.96
    assert (found.low, found.high) == pytest.approx((4 / 64 - spread, 4 / 64 + spread), abs=0.2 / 64)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 400).map(lambda number: number / 4096), min_size=3, max_size=9), st.sampled_from([1, -1])
)
def test_seeds_that_agree_in_sign_always_show_a_difference(values, sign):
    found = by_seed(*(sign * value for value in values))
    assert shows_difference(found)
    assert (found.interval.low > 0.0) == (found.interval.high > 0.0) == (sign > 0)
    if found.n >= 6:
        assert found.sign_test_p < 0.05


@settings(deadline=None, max_examples=40)
@given(st.lists(DIFFERENCES, min_size=1, max_size=9))
def test_seeds_that_do_not_agree_show_none(values):
    values = [*values, 0.0]
    assert not shows_difference(by_seed(*values))


def test_worst_seed_is_the_lowest_and_of_equals_the_first():
    found = pair({7: 0.25, 3: -0.125, 1: 0.0, 5: -0.125})
    assert (found.worst_seed, found.minimum, found.better, found.worse) == (3, -0.125, 1, 2)
    assert list(found.differences) == ["1", "3", "5", "7"]


@pytest.mark.parametrize(
    ("above", "below", "p"), [(5, 0, 0.0625), (6, 0, 0.03125), (4, 1, 0.375), (3, 3, 1.0), (0, 0, 1.0)]
)
def test_sign_test_is_two_sided(above, below, p):
    assert sign_test(above, below) == p


def test_sign_test_needs_five_seeds():
    assert by_seed(0.1, 0.1, 0.1, 0.1).sign_test_p is None
    assert by_seed(0.1, 0.1, 0.1, 0.1, 0.1).sign_test_p == 0.0625


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.01], "a minus b: +0.0100 over 1 seed; one seed cannot show a difference."),
        ([0.01, 0.03], "a minus b: +0.0200 [+0.0100, +0.0300] over 2 seeds; two seeds cannot show a difference."),
        ([0.01, 0.02, 0.03], "a is better than b by 0.0200 [0.0100, 0.0300], 3 of 3 seeds (few seeds)."),
        ([-0.01, -0.02, -0.03], "a is worse than b by 0.0200 [0.0100, 0.0300], 3 of 3 seeds (few seeds)."),
        (
            [-0.01, 0.02, 0.02],
            "a minus b: +0.0100 [-0.0100, +0.0200] over 3 seeds, better in 2, worse in 1, worst in seed 0 (-0.0100); "
            "no difference can be shown (few seeds).",
        ),
        (
            [0.0, 0.01, 0.02],
            "a minus b: +0.0100 [+0.0000, +0.0200] over 3 seeds, better in 2, worse in 0, worst in seed 0 (+0.0000); "
            "no difference can be shown (few seeds).",
        ),
        (
            [0.01, 0.02, 0.03, 0.04, 0.05],
            "a is better than b by 0.0300 [0.0180, 0.0420], 5 of 5 seeds (sign test p = 0.062).",
        ),
        (
            [-0.01, 0.02, 0.02, 0.02, 0.05],
            "a minus b: +0.0200 [+0.0020, +0.0380] over 5 seeds, better in 4, worse in 1, worst in seed 0 (-0.0100); "
            "no difference can be shown (sign test p = 0.38).",
        ),
        ([-0.02] * 6, "a is worse than b by 0.0200 [0.0200, 0.0200], 6 of 6 seeds (sign test p = 0.031)."),
    ],
)
def test_wording_of_each_number_of_seeds(values, text):
    assert difference_sentence("a", "b", by_seed(*values)) == text
