"""The tables of the pages, as text cells. Markdown and HTML render the same ones."""

from collections.abc import Sequence

import attrs

from qat_report import comparable
from qat_report.comparison import Cell, Comparison, PairedDelta, Reference
from qat_report.grouping import Entry
from qat_report.numbers import ABSENT, delta, difference, metric
from qat_report.summary import Metrics, RunSummary, Variant

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
    return ABSENT if paired is None else f"{delta(paired.mean)} (n = {len(paired.differences)})"


def _outcome(cell: Cell) -> str:
    if not cell.classes:
        return "no comparable run"
    found = list(cell.classes.values())
    if len(set(found)) == 1:
        return f"all {found[0]}" if len(found) > 1 else f"{found[0]}, one seed"
    return "seeds disagree: " + ", ".join(f"{found.count(name)} {name}" for name in dict.fromkeys(found))


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


def settings_table(entries: Sequence[Entry]) -> Table:
    """The settings that each variant's comparable runs share."""
    first = {e.variant: comparable.settings(e.summary) for e in reversed(entries) if not e.differences}
    variants = sorted(first, key=[e.variant for e in entries].index)
    keys = dict.fromkeys(key for variant in variants for key in first[variant])
    rows = [(key, *(comparable.shorten(first[variant].get(key)) for variant in variants)) for key in keys]
    return Table(columns=("setting", *variants), rows=tuple(rows))


def provenance_table(entries: Sequence[Entry]) -> Table:
    """Where each run comes from. Hashes are cut to 12 digits, the summaries hold them whole."""
    rows = [
        (
            entry.summary.run_id,
            entry.summary.created_at,
            git_state(entry.summary),
            (entry.summary.model.checkpoint_sha256 or ABSENT)[:12],
            entry.summary.dataset.fingerprint[:12],
            f"{entry.summary.dataset.train_images} / {entry.summary.dataset.val_images}",
            (entry.summary.evaluation.weights_sha256 or ABSENT)[:12],
            entry.summary.training.device,
        )
        for entry in entries
    ]
    columns = ("run", "created", "commit", "checkpoint", "data", "train / val images", "final weights", "device")
    return Table(columns=columns, rows=tuple(rows))


def versions_table(entries: Sequence[Entry]) -> Table:
    """Versions of what the runs were made with."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        for name, version in entry.summary.versions.items():
            found.setdefault(name, set()).add(version)
    return Table(columns=("software", "version"), rows=tuple((n, ", ".join(sorted(found[n]))) for n in sorted(found)))


def git_state(summary: RunSummary) -> str:
    """Such as "29c120f33754 (main), changed"."""
    git = summary.git
    if git.commit is None:
        return ABSENT
    branch = f" ({git.branch})" if git.branch else ""
    return f"{git.commit[:12]}{branch}{', changed' if git.dirty else ''}"


def run_numbers_table(summary: RunSummary) -> Table:
    """References, best and final of one run."""
    metrics = summary.metrics
    last = str(metrics.history[-1].epoch) if metrics.history else ABSENT
    fp32, ptq = metrics.fp32, metrics.ptq
    rows = (
        ("FP32", metric(fp32), ABSENT, delta(difference(fp32, ptq)), ABSENT),
        ("PTQ", metric(ptq), delta(difference(ptq, fp32)), ABSENT, "0"),
        ("best", *_against_references(metrics.best_value, metrics), str(metrics.best_epoch or ABSENT)),
        ("final", *_against_references(metrics.final_value, metrics), last),
    )
    return Table(columns=("mAP50-95", "value", "Δ FP32", "Δ PTQ", "epoch"), rows=rows)


def _against_references(value: float | None, metrics: Metrics) -> tuple[str, str, str]:
    return metric(value), delta(difference(value, metrics.fp32)), delta(difference(value, metrics.ptq))


def history_table(summary: RunSummary) -> Table:
    """The whole series."""
    rows = [("after QC" if p.stage == "qc" else str(p.epoch), metric(p.value)) for p in summary.metrics.history]
    return Table(columns=("epoch", "mAP50-95"), rows=tuple(rows))


def run_settings_table(summary: RunSummary) -> Table:
    """What distinguishes one run from another, and what a reader needs to repeat it."""
    quantization, training = summary.quantization, summary.training
    widths: dict[str, int] = {}
    for layer in quantization.layers:
        name = "float" if layer.bits is None else f"{layer.bits} bit"
        widths[name] = widths.get(name, 0) + 1
    ema, qc = summary.method.ema, summary.method.qc
    scale = f"{quantization.scale.init}, {'learned' if quantization.scale.learned else 'fixed'}"
    rows = (
        ("checkpoint", f"{summary.model.checkpoint} ({(summary.model.checkpoint_sha256 or ABSENT)[:12]})"),
        ("image size", f"{summary.model.imgsz} px"),
        (
            "quantization",
            f"{quantization.mode}, {quantization.granularity}, scale {scale}, policy {quantization.policy}",
        ),
        ("layers", ", ".join(f"{number} at {name}" for name, number in sorted(widths.items())) or ABSENT),
        ("weights reported", f"EMA, decay {ema.decay}, tau {ema.tau}" if ema.enabled else "raw"),
        ("correction", f"{qc.epochs} epoch, lr {qc.lr}" if qc.epochs is not None else "none"),
        ("data", f"{summary.dataset.train_images} train, {summary.dataset.val_images} val images"),
        ("data fingerprint", summary.dataset.fingerprint),
        ("training", f"{training.epochs} epochs, batch {training.effective_batch}, {training.optimizer}"),
        ("seed", f"{training.seed}; data selection seed {training.data_seed}"),
        ("device", f"{training.device}, AMP {'on' if training.amp else 'off'}"),
        ("overrides", ", ".join(f"{k} = {v}" for k, v in sorted(training.overrides.items())) or "none"),
        ("evaluation", f"{summary.evaluation.evaluator}, {summary.evaluation.head} head, {summary.evaluation.split}"),
        ("software", ", ".join(f"{name} {version}" for name, version in sorted(summary.versions.items()))),
    )
    return Table(columns=("setting", "value"), rows=rows)
