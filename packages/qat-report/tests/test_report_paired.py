"""Paired statistics against an enumeration of their own, and the rule and the wording of every number of seeds."""

import random
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qat_report.comparison import Cell
from qat_report.paired import bootstrap_interval, pair, sign_test
from qat_report.verdict import difference_sentence, few_agree, names_side, shows_difference, variant_verdict

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
def test_seeds_that_all_agree_name_a_side_and_from_six_on_show_a_difference(values, sign):
    found = by_seed(*(sign * value for value in values))
    assert names_side(found)
    assert (shows_difference(found), few_agree(found)) == (found.n >= 6, found.n < 6)
    assert (found.interval.low > 0.0) == (found.interval.high > 0.0) == (sign > 0)


@settings(deadline=None, max_examples=60)
@given(st.lists(DIFFERENCES, min_size=1, max_size=5))
def test_fewer_than_six_seeds_never_show_a_difference_and_name_a_side_only_where_all_agree(values):
    found = by_seed(*values)
    assert not shows_difference(found)
    agree = all(value > 0 for value in values) or all(value < 0 for value in values)
    assert names_side(found) == (len(values) >= 3 and agree)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(DIFFERENCES, min_size=6, max_size=7),
    st.integers(0, 400),
    st.lists(st.integers(0, 400), min_size=7, max_size=7),
)
def test_rule_is_symmetric_in_sign_and_monotone(values, shift, gains):
    values = [value + shift / 4096 for value in values]
    found, mirrored = by_seed(*values), by_seed(*(-value for value in values))
    assert shows_difference(found) == shows_difference(mirrored)
    raised = by_seed(*(value + gain / 4096 for value, gain in zip(values, gains, strict=False)))
    if shows_difference(found) and found.mean > 0.0:  # a seed that gains more never hides a gain
        assert shows_difference(raised)
        assert raised.mean >= found.mean


@settings(deadline=None, max_examples=5)
@given(st.lists(st.integers(1, 400).map(lambda number: number / 4096), min_size=6, max_size=6))
def test_signs_that_chance_gives_show_a_difference_in_less_than_one_of_twenty_cases(sizes):
    """Exact: under no effect each of the 2**6 sign patterns of the same sizes is as likely as any other."""
    patterns = list(product((1, -1), repeat=len(sizes)))
    shown = sum(shows_difference(by_seed(*(s * x for s, x in zip(signs, sizes, strict=True)))) for signs in patterns)
    assert shown == 2  # all better and all worse: 2 / 64 = 3.1 %


@pytest.mark.parametrize(("number", "repeats"), [(7, 100), (12, 40), pytest.param(50, 200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("heavy", [False, True])
def test_method_without_effect_is_called_different_in_at_most_one_of_twenty_cases(number, repeats, heavy):
    """False positives stay within three standard errors of 5 %, also where a tenth of the runs goes far astray."""
    source = random.Random(number)

    def noise():
        return source.gauss(0.0, 0.05 if heavy and source.random() < 0.1 else 0.01)

    called = sum(shows_difference(by_seed(*(noise() for _ in range(number)))) for _ in range(repeats))
    assert called / repeats <= 0.05 + 3 * (0.05 * 0.95 / repeats) ** 0.5


@pytest.mark.parametrize("sign", [1, -1])
def test_fifty_seeds_show_a_shift_of_nine_tenths_of_their_spread_though_some_disagree(sign):
    """A normal seed then has the sign of the shift with 0.82: fewer than the 33 that the test needs, once in 500."""
    source = random.Random(50)
    found = [by_seed(*(sign * source.gauss(0.009, 0.01) for _ in range(50))) for _ in range(12)]
    assert sum(map(shows_difference, found)) >= 11
    assert all(min(one.better, one.worse) > 0 for one in found)  # none of them has all seeds on one side


def test_fifty_seeds_of_which_thirteen_disagree_are_no_longer_no_difference():
    found = by_seed(*([0.01] * 37 + [-0.01] * 13))
    text = "a is better than b by 0.0048 [0.0024, 0.0072], 37 of 50 seeds (sign test p = 0.00094)."
    assert difference_sentence("a", "b", found) == text


def test_interval_and_sign_test_have_to_point_to_one_side():
    rare = by_seed(*([0.01] * 40 + [-0.5] * 10))  # most seeds gain a little, some lose all: no gain
    assert rare.sign_test_p < 0.001
    assert rare.interval.high < 0.0
    assert not shows_difference(rare)
    assert difference_sentence("a", "b", rare).endswith(
        "no difference can be shown (sign test p = 2.4e-05, but the mean lies on the other side)."
    )
    wide = by_seed(*([0.01] * 7 + [0.02, -0.2]))
    assert difference_sentence("a", "b", wide).endswith(
        "no difference can be shown (sign test p = 0.039, but the interval of the mean includes 0)."
    )


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
            "a is better than b by 0.0300 [0.0180, 0.0420], 5 of 5 seeds (few seeds, sign test p = 0.062).",
        ),
        (
            [-0.01, 0.02, 0.02, 0.02, 0.05],
            "a minus b: +0.0200 [+0.0020, +0.0380] over 5 seeds, better in 4, worse in 1, worst in seed 0 (-0.0100); "
            "no difference can be shown (few seeds, sign test p = 0.38).",
        ),
        (
            [0.01, 0.02, 0.02, 0.03, 0.03, -0.01],
            "a minus b: +0.0167 [+0.0050, +0.0267] over 6 seeds, better in 5, worse in 1, worst in seed 5 (-0.0100); "
            "no difference can be shown (sign test p = 0.22).",
        ),
        ([-0.02] * 6, "a is worse than b by 0.0200 [0.0200, 0.0200], 6 of 6 seeds (sign test p = 0.031)."),
    ],
)
def test_wording_of_each_number_of_seeds(values, text):
    assert difference_sentence("a", "b", by_seed(*values)) == text


def test_a_verdict_names_the_references_of_its_own_runs():
    def cell(method, ptq):
        return Cell(
            variant="yolo10n",
            method=method,
            seeds=(0,),
            counted_seeds=(0,),
            mean=0.375,
            minimum=0.375,
            maximum=0.375,
            spread=0.0,
            std=None,
            worst=0.375,
            delta_fp32=-0.125,
            delta_ptq=0.375 - ptq,
            delta_baseline=None,
            delta_ema=None,
            agree=None,
            classes={"0": "stable"},
        )

    default, wider = variant_verdict([cell("baseline", 0.0625), cell("small-8", 0.25)])
    assert "-0.1250 against FP32 0.5000 and +0.3125 against PTQ 0.0625." in default
    assert "-0.1250 against FP32 0.5000 and +0.1250 against PTQ 0.2500." in wider
