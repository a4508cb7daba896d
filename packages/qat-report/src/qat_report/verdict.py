"""What the numbers show, and what they do not, in sentences.

From 6 paired seeds on a difference is shown when two things point to one side: the 95 % bootstrap interval of the mean
difference excludes 0, and an exact two-sided sign test has p < 0.05 (`paired` has the sources of both). Each alone
would mislead: over 6 to 10 seeds the interval is too narrow, and the test counts seeds without a look at how much they
differ. Together they call a method without effect, half of whose differences lie on either side, different in less than
5 % of cases, for the test alone does. Seeds may disagree: over 50, the test needs 33 of them.

Fewer seeds cannot reach p < 0.05: 2 * 0.5**5 = 0.06. With 3 to 5 that all agree in sign, and whose interval excludes 0
therefore, the sentence names the better one with the words "few seeds", and the notes say how often chance alone does
that. One or two seeds never call anything.
"""

from collections.abc import Sequence

from qat_report.comparison import Cell, PairedDelta
from qat_report.numbers import count, delta, interval, metric

FEWEST_SEEDS = 3
ENOUGH_SEEDS = 6  # the first number of which a sign test can have p < SIGNIFICANT
SIGNIFICANT = 0.05


def variant_verdict(cells: Sequence[Cell]) -> list[str]:
    """One sentence or some per method of a variant."""
    return [f"{cell.variant} {cell.method}: {_outcome(cell)} {_level(cell)}{_against(cell)}" for cell in cells]


def _outcome(cell: Cell) -> str:
    total = len(cell.classes)
    if not total:
        return "no comparable run."
    stable = sum(found == "stable" for found in cell.classes.values())
    others = [f"seed {s} {c}" for s, c in cell.classes.items() if c != "stable"]
    others += [f"seed {s} not comparable" for s in cell.seeds if str(s) not in cell.classes]
    named = f" ({', '.join(others)})" if others else ""
    return f"{stable} of {count(len(cell.seeds), 'seed')} stable{named}."


def _level(cell: Cell) -> str:
    if cell.mean is None:
        return "No final value counts."
    spread = f" (range {metric(cell.minimum)} to {metric(cell.maximum)})" if len(cell.counted_seeds) > 1 else ""
    # Of its own runs: rows under different layer policies do not start from one PTQ.
    deltas = [
        f"{delta(value)} against {name} {metric(cell.mean - value)}"
        for name, value in (("FP32", cell.delta_fp32), ("PTQ", cell.delta_ptq))
        if value is not None
    ]
    tail = f", {' and '.join(deltas)}" if deltas else ""
    return f"Final {metric(cell.mean)} mean over {count(len(cell.counted_seeds), 'seed')}{spread}{tail}."


def _against(cell: Cell) -> str:
    if cell.method == "baseline":
        return ""
    if cell.delta_baseline is None:
        text = " No seed pairs it with a baseline that counts: no statement on a difference."
    else:
        text = f" {difference_sentence(cell.method, 'baseline', cell.delta_baseline)}"
    return text if cell.delta_ema is None else f"{text} {difference_sentence(cell.method, 'ema', cell.delta_ema)}"


def shows_difference(paired: PairedDelta) -> bool:
    """Whether interval and sign test show a difference, on one side; never over fewer than 6 seeds."""
    if paired.n < ENOUGH_SEEDS or not _significant(paired):
        return False
    return _side(paired) == (1 if paired.better > paired.worse else -1)


def few_agree(paired: PairedDelta) -> bool:
    """Whether 3 to 5 seeds all agree in sign: too few to show a difference, enough to name its side."""
    return FEWEST_SEEDS <= paired.n < ENOUGH_SEEDS and paired.n in (paired.better, paired.worse)


def names_side(paired: PairedDelta) -> bool:
    """Whether a sentence may say which of two methods is better, by either rule above."""
    return shows_difference(paired) or few_agree(paired)


def difference_sentence(method: str, other: str, paired: PairedDelta) -> str:
    """Such as "ema+qc is better than ema by 0.0120 [0.0040, 0.0190], 8 of 9 seeds (sign test p = 0.039)."."""
    if names_side(paired):
        assert paired.interval is not None  # it excludes 0
        side = "better" if paired.mean > 0.0 else "worse"
        low, high = sorted((abs(paired.interval.low), abs(paired.interval.high)))
        return (
            f"{method} is {side} than {other} by {metric(abs(paired.mean))} [{metric(low)}, {metric(high)}], "
            f"{agreeing(paired)} of {paired.n} seeds ({_test(paired)})."
        )
    mean = f"{method} minus {other}: {delta(paired.mean)}{interval(paired.interval)} over {count(paired.n, 'seed')}"
    if paired.n < FEWEST_SEEDS:
        return f"{mean}; {'one seed' if paired.n == 1 else 'two seeds'} cannot show a difference."
    return (
        f"{mean}, better in {paired.better}, worse in {paired.worse}, worst in seed {paired.worst_seed} "
        f"({delta(paired.minimum)}); no difference can be shown ({_test(paired)})."
    )


def agreeing(paired: PairedDelta) -> int:
    """How many seeds have the sign of the mean."""
    return paired.better if paired.mean > 0.0 else paired.worse


def _side(paired: PairedDelta) -> int:
    """1 or -1 where the interval excludes 0, else 0."""
    span = paired.interval
    return 0 if span is None else (span.low > 0.0) - (span.high < 0.0)


def _significant(paired: PairedDelta) -> bool:
    return paired.sign_test_p is not None and paired.sign_test_p < SIGNIFICANT


def _test(paired: PairedDelta) -> str:
    """What the sign test says; where a difference hangs on the interval, that too."""
    said = [f"sign test p = {paired.sign_test_p:.2g}"] if paired.sign_test_p is not None else []
    if paired.n < ENOUGH_SEEDS:
        return ", ".join(["few seeds", *said])
    if _significant(paired) and not shows_difference(paired):
        said.append("the interval of the mean includes 0" if _side(paired) == 0 else "the mean lies on the other side")
    return ", but ".join(said)


def chance_note(cells: Sequence[Cell]) -> list[str]:
    """How little a clean record over few seeds excludes."""
    clean = sorted({len(c.classes) for c in cells if c.classes and set(c.classes.values()) == {"stable"}})
    return [
        f"{number} of {count(number, 'seed')} stable: a method that fails in half of its runs shows that with "
        f"probability {0.5**number:.2g}"
        for number in clean
    ]


def difference_notes(cells: Sequence[Cell]) -> list[str]:
    """What the intervals are, and how often chance alone makes a difference; empty where nothing is compared."""
    compared = [paired for cell in cells for paired in (cell.delta_baseline, cell.delta_ema) if paired is not None]
    notes = []
    if any(paired.interval is not None for paired in compared):
        notes.append(
            "intervals are 95 % percentile bootstraps of the mean over seeds (Efron and Tibshirani 1993, chapter 13; "
            "all resamples up to 8 seeds, 10,000 drawn beyond); over few seeds they are too narrow: over 2 or 3 seeds "
            "one is the range of the differences, which holds the true median difference in 50 % or 75 % of cases"
        )
    made = f"{count(len(compared), 'comparison')} {'is' if len(compared) == 1 else 'are'} made here"
    few = sorted({paired.n for paired in compared if FEWEST_SEEDS <= paired.n < ENOUGH_SEEDS})
    if few:
        chances = ", ".join(f"{2 * 0.5**number:.1%} of cases over {number} seeds" for number in few)
        notes.append(
            f'over {FEWEST_SEEDS} to {ENOUGH_SEEDS - 1} seeds, "few seeds", a side is named where all agree in sign; '
            f"a method without effect meets that by chance in {chances}, and {made}"
        )
    if any(paired.n >= ENOUGH_SEEDS for paired in compared):
        notes.append(
            f"from {ENOUGH_SEEDS} seeds on a difference is shown where the interval excludes 0 and an exact two-sided "
            f"sign test (Conover, Practical Nonparametric Statistics, section 3.4) has p < {SIGNIFICANT} on the same "
            f"side; a method without effect meets that in less than {SIGNIFICANT:.0%} of cases, and {made}"
        )
    return notes
