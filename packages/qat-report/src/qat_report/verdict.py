"""What the numbers show, and what they do not, in sentences.

Worded for few seeds: a difference is called only where a two-sided sign test over the paired seeds can reject chance.
"""

from collections.abc import Sequence
from math import comb

from qat_report.comparison import Cell, PairedDelta, Reference
from qat_report.numbers import count, delta, metric

SIGNIFICANCE = 0.05
FEWEST_SEEDS = 6  # 2 * 0.5**n is below 0.05 from n = 6 on: with fewer seeds the test can never reject


def variant_verdict(cells: Sequence[Cell], reference: Reference) -> list[str]:
    """One sentence or two per method of a variant."""
    return [
        f"{cell.variant} {cell.method}: {_outcome(cell)} {_level(cell, reference)}{_against(cell)}" for cell in cells
    ]


def _outcome(cell: Cell) -> str:
    total = len(cell.classes)
    if not total:
        return "no comparable run."
    stable = sum(found == "stable" for found in cell.classes.values())
    text = f"{stable} of {count(total, 'seed')} stable"
    if stable < total:
        return f"{text} ({', '.join(f'seed {s} {c}' for s, c in cell.classes.items() if c != 'stable')})."
    return f"{text}."


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
    paired = cell.delta_baseline
    if paired is None:
        return " No seed pairs it with a baseline that counts: no statement on a difference."
    number = len(paired.differences)
    span = f" (range {delta(paired.minimum)} to {delta(paired.maximum)})" if number > 1 else ""
    mean = f"{delta(paired.mean)} mean over {count(number, 'seed')}{span}"
    return f" {cell.method} minus baseline: {mean}; {_call(paired)}."


def _call(paired: PairedDelta) -> str:
    values = paired.differences.values()
    if len(values) < FEWEST_SEEDS:
        return "too few seeds to call a difference"
    above, below = sum(value > 0.0 for value in values), sum(value < 0.0 for value in values)
    probability = sign_test(above, below)
    if probability >= SIGNIFICANCE:
        return f"no difference can be shown (two-sided sign test, p = {probability:.2g})"
    side, number = ("above", above) if above > below else ("below", below)
    return f"{side} it in {number} of {len(values)} seeds (two-sided sign test, p = {probability:.2g})"


def chance_note(cells: Sequence[Cell]) -> list[str]:
    """How little a clean record over few seeds excludes."""
    clean = sorted({len(c.classes) for c in cells if c.classes and set(c.classes.values()) == {"stable"}})
    return [
        f"{number} of {count(number, 'seed')} stable: a method that fails in half of its runs shows that with "
        f"probability {0.5**number:.2g}"
        for number in clean
    ]


def sign_test(above: int, below: int) -> float:
    """Two-sided p of a sign test on `above` positive and `below` negative differences; ties are left out.

    P(at least max(above, below) of n equal signs) under a fair coin, doubled; Conover, Practical Nonparametric
    Statistics, section 3.4.
    """
    number = above + below
    tail = sum(comb(number, k) for k in range(max(above, below), number + 1))
    return min(1.0, 2 * tail * 0.5**number)
