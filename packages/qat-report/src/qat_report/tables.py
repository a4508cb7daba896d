"""The tables of a comparison, as text cells. Markdown and HTML render the same ones."""

from collections.abc import Sequence

import attrs

from qat_report.comparison import Attribution, Cell, Comparison, PairedDelta, Reference
from qat_report.grouping import Entry
from qat_report.numbers import ABSENT, delta, difference, interval, metric
from qat_report.summary import Oscillation, RunSummary, Variant

_METHOD_COLUMNS = (
    "method", "counted", "final mean", "min to max", "std", "worst", "Δ FP32", "Δ PTQ", "Δ baseline", "outcome",
)  # fmt: skip


@attrs.frozen(kw_only=True)
class Table:
    """`rows` are cells of text, not escaped; the first column names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def methods_table(comparison: Comparison, variant: Variant) -> Table:
    """FP32 and PTQ above the methods of one variant, over seeds."""
    reference = next(item for item in comparison.references if item.variant == variant)
    cells = [_method_row(cell) for cell in comparison.cells if cell.variant == variant]
    return Table(columns=_METHOD_COLUMNS, rows=(*_reference_rows(reference), *cells))


def _reference_rows(reference: Reference) -> list[tuple[str, ...]]:
    gap = delta(difference(reference.ptq, reference.fp32))
    return [
        ("FP32, not quantized", ABSENT, metric(reference.fp32), *(ABSENT,) * 7),
        ("PTQ, before training", ABSENT, metric(reference.ptq), *(ABSENT,) * 3, gap, *(ABSENT,) * 3),
    ]


def _method_row(cell: Cell) -> tuple[str, ...]:
    span = f"{metric(cell.minimum)} to {metric(cell.maximum)}" if cell.spread is not None else ABSENT
    return (
        cell.method,
        f"{len(cell.counted_seeds)} of {len(cell.seeds)}",
        metric(cell.mean),
        span,
        metric(cell.std),
        metric(cell.worst),
        delta(cell.delta_fp32),
        delta(cell.delta_ptq),
        _paired(cell.delta_baseline),
        _outcome(cell),
    )


def _paired(paired: PairedDelta | None) -> str:
    return ABSENT if paired is None else f"{delta(paired.mean)} (n = {paired.n})"


def _outcome(cell: Cell) -> str:
    if not cell.classes:
        return "no comparable run"
    found = list(cell.classes.values())
    if len(set(found)) == 1:
        return f"all {found[0]}" if len(found) > 1 else f"{found[0]}, one seed"
    return "seeds disagree: " + ", ".join(f"{found.count(name)} {name}" for name in dict.fromkeys(found))


def paired_table(comparison: Comparison, variant: Variant) -> Table | None:
    """Each method of one variant against the baseline, and QC against EMA; None where no seed is paired."""
    rows = [
        _paired_row(f"{cell.method} minus {other}", found)
        for cell in comparison.cells
        for other, found in (("baseline", cell.delta_baseline), ("ema", cell.delta_ema))
        if cell.variant == variant and found is not None
    ]
    columns = ("difference", "n", "mean", "95 % interval", "better / worse", "sign test p", "worst seed")
    return Table(columns=columns, rows=tuple(rows)) if rows else None


def _paired_row(name: str, found: PairedDelta) -> tuple[str, ...]:
    return (
        name,
        str(found.n),
        delta(found.mean),
        interval(found.interval).strip() or ABSENT,
        f"{found.better} / {found.worse}",
        ABSENT if found.sign_test_p is None else f"{found.sign_test_p:.2g}",
        f"{found.worst_seed}: {delta(found.minimum)}",
    )


def attribution_table(attribution: Attribution) -> Table:
    """What each step adds."""
    rows = [
        (
            f"{_name(step.start)} → {_name(step.end)}",
            delta(step.mean),
            interval(step.interval).strip() or ABSENT,
            str(step.n),
            ", ".join(f"{seed}: {delta(value)}" for seed, value in step.differences.items()),
        )
        for step in attribution.steps
    ]
    return Table(columns=("step", "mean Δ", "95 % interval", "n", "by seed"), rows=tuple(rows))


def _name(end: str) -> str:
    return end.upper() if end in ("fp32", "ptq") else end


def oscillation_table(entries: Sequence[Entry]) -> Table | None:
    """How the codes moved, one row per training run: its rows share it. None where no run tracked them."""
    runs: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.summary.oscillation is not None:
            runs.setdefault(entry.summary.trajectory_id, []).append(entry)
    rows = [
        (trajectory, *_oscillation_cells(held[0].summary.oscillation), ", ".join(entry.method for entry in held))
        for trajectory, held in runs.items()
    ]
    columns = ("training run", "epoch", "oscillating", "mean frequency", "switches", "by weight", "by scale", "rows")
    return Table(columns=columns, rows=tuple(rows)) if rows else None


def _oscillation_cells(found: Oscillation | None) -> tuple[str, ...]:
    assert found is not None  # the table holds no other
    return (
        str(found.epoch),
        f"{found.share:.2%} above {found.threshold:g}",
        f"{found.frequency:.5f}",
        f"{found.switches:,}",
        f"{found.by_weight:,}",
        f"{found.by_scale:,}",
    )


def runs_table(comparison: Comparison, variant: Variant) -> Table:
    """Every run of one variant."""
    rows = [
        (
            row.method,
            str(row.seed),
            row.run_class,
            metric(row.best_value),
            ABSENT if row.best_epoch is None else str(row.best_epoch),
            metric(row.final_value),
            "yes" if row.comparable else "no",
            "; ".join(row.notes) or ABSENT,
        )
        for row in comparison.rows
        if row.variant == variant
    ]
    columns = ("method", "seed", "class", "best", "at epoch", "final", "comparable", "notes")
    return Table(columns=columns, rows=tuple(rows))


def stability_table(entries: Sequence[Entry]) -> Table:
    """Why each run has its class."""
    rows = [
        (
            f"{entry.variant} {entry.method} seed {entry.seed}",
            entry.summary.stability.run_class,
            metric(entry.summary.stability.final_over_best_ratio),
            "; ".join(_reasons(entry.summary)) or ABSENT,
            "; ".join(f"{e.kind} at epoch {e.epoch}" for e in entry.summary.stability.events) or ABSENT,
            "; ".join(entry.summary.stability.not_checked) or ABSENT,
        )
        for entry in entries
    ]
    return Table(columns=("run", "class", "final / best", "why", "events", "not checked"), rows=tuple(rows))


def _reasons(summary: RunSummary) -> list[str]:
    return [*summary.stability.reasons, *([summary.error] if summary.error else [])]


def claims_table(comparison: Comparison) -> Table:
    """The ledger: which rows each sentence rests on."""
    rows = [
        (
            claim.question or claim.id,
            "all rows" if len(claim.rows) == len(comparison.rows) else ", ".join(claim.rows) or "no row",
        )
        for claim in comparison.claims
    ]
    return Table(columns=("sentence", "rests on"), rows=tuple(rows))
