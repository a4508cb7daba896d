"""What the numbers show, and what they do not, in sentences.

A difference between two methods is called when there are at least 3 paired seeds, the bootstrap interval of the mean
difference excludes 0, and all seeds agree in sign. It is worded with its n, below 5 seeds as "few seeds", and from 5 on
with the p of a two-sided sign test. One or two seeds never call anything.

Two things follow, and tests hold them. Where all seeds agree in sign, so does every resample: the interval excludes 0
of itself, and agreement is what decides. And from 6 seeds on a called difference always has p < 0.05, for
2 * 0.5**6 = 0.03; with 3 to 5 it cannot: 2 * 0.5**n is the chance that a method without effect is called different.
"""

from collections.abc import Sequence

from qat_report.comparison import Cell, PairedDelta, Reference
from qat_report.numbers import count, delta, interval, metric
from qat_report.paired import SIGN_TEST_FROM

FEWEST_SEEDS = 3


def variant_verdict(cells: Sequence[Cell], reference: Reference) -> list[str]:
    """One sentence or some per method of a variant."""
    return [
        f"{cell.variant} {cell.method}: {_outcome(cell)} {_level(cell, reference)}{_against(cell)}" for cell in cells
    ]


def _outcome(cell: Cell) -> str:
    total = len(cell.classes)
    if not total:
        return "no comparable run."
    stable = sum(found == "stable" for found in cell.classes.values())
    others = [f"seed {s} {c}" for s, c in cell.classes.items() if c != "stable"]
    others += [f"seed {s} not comparable" for s in cell.seeds if str(s) not in cell.classes]
    named = f" ({', '.join(others)})" if others else ""
    return f"{stable} of {count(len(cell.seeds), 'seed')} stable{named}."


def _level(cell: Cell, reference: Reference) -> str:
    if cell.mean is None:
        return "No final value counts."
    spread = f" (range {metric(cell.minimum)} to {metric(cell.maximum)})" if len(cell.counted_seeds) > 1 else ""
    deltas = [
        f"{delta(value)} against {name} {metric(level)}"
        for name, value, level in (
            ("FP32", cell.delta_fp32, reference.fp32),
            ("PTQ", cell.delta_ptq, reference.ptq),
        )
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
    """Whether a difference is called, by the rule above."""
    span = paired.interval
    excludes = span is not None and (span.low > 0.0 or span.high < 0.0)
    return paired.n >= FEWEST_SEEDS and excludes and paired.n in (paired.better, paired.worse)


def difference_sentence(method: str, other: str, paired: PairedDelta) -> str:
    """Such as "ema+qc is better than ema by 0.0120 [0.0040, 0.0190], 5 of 5 seeds (sign test p = 0.062)."."""
    test = f"sign test p = {paired.sign_test_p:.2g}" if paired.sign_test_p is not None else "few seeds"
    if shows_difference(paired):
        assert paired.interval is not None  # it excludes 0
        side = "better" if paired.mean > 0.0 else "worse"
        low, high = sorted((abs(paired.interval.low), abs(paired.interval.high)))
        return (
            f"{method} is {side} than {other} by {metric(abs(paired.mean))} [{metric(low)}, {metric(high)}], "
            f"{paired.n} of {paired.n} seeds ({test})."
        )
    mean = f"{method} minus {other}: {delta(paired.mean)}{interval(paired.interval)} over {count(paired.n, 'seed')}"
    if paired.n < FEWEST_SEEDS:
        return f"{mean}; {'one seed' if paired.n == 1 else 'two seeds'} cannot show a difference."
    return (
        f"{mean}, better in {paired.better}, worse in {paired.worse}, worst in seed {paired.worst_seed} "
        f"({delta(paired.minimum)}); no difference can be shown ({test})."
    )


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
    few = sorted({paired.n for paired in compared if FEWEST_SEEDS <= paired.n <= SIGN_TEST_FROM})
    if few:
        chances = ", ".join(f"{2 * 0.5**number:.1%} of cases over {number} seeds" for number in few)
        notes.append(
            f"a difference is called where at least {FEWEST_SEEDS} seeds agree in sign and the interval excludes 0; "
            f"a method without effect meets that by chance in {chances}, and "
            f"{count(len(compared), 'comparison')} {'is' if len(compared) == 1 else 'are'} made here"
        )
    return notes
