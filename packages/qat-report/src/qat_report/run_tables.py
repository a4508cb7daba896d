"""The tables of one run's page, as text cells."""

from qat_report.numbers import ABSENT, delta, difference, metric
from qat_report.summary import Metrics, RunSummary
from qat_report.tables import Table
from qat_report.wording import after, correction, motion


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
    last = after(summary.method.qc.stages)
    rows = [(last if p.stage == "qc" else str(p.epoch), metric(p.value)) for p in summary.metrics.history]
    return Table(columns=("epoch", "mAP50-95"), rows=tuple(rows))


def run_settings_table(summary: RunSummary) -> Table:
    """What distinguishes one run from another, and what a reader needs to repeat it."""
    quantization, training = summary.quantization, summary.training
    widths: dict[str, int] = {}
    for layer in quantization.layers:
        name = "float" if layer.bits is None else f"{layer.bits} bit"
        widths[name] = widths.get(name, 0) + 1
    ema = summary.method.ema
    rate = f", lr {quantization.scale.lr:g}" if quantization.scale.lr is not None else ""
    scale = f"{quantization.scale.init}, {motion(summary)}{rate}"
    rows = (
        ("checkpoint", f"{summary.model.checkpoint} ({(summary.model.checkpoint_sha256 or ABSENT)[:12]})"),
        ("image size", f"{summary.model.imgsz} px"),
        (
            "quantization",
            "none, floating point control"
            if quantization.weight_bit_width is None
            else f"{quantization.mode}, {quantization.granularity}, scale {scale}, policy {quantization.policy}",
        ),
        ("layers", ", ".join(f"{number} at {name}" for name, number in sorted(widths.items())) or ABSENT),
        ("weights reported", f"EMA, decay {ema.decay}, tau {ema.tau}" if ema.enabled else "raw"),
        ("correction", correction(summary)),
        ("data", f"{summary.dataset.train_images} train, {summary.dataset.val_images} val images"),
        ("data fingerprint", summary.dataset.fingerprint),
        ("training", f"{training.epochs} epochs, batch {training.effective_batch}, {training.optimizer}"),
        ("interventions", ", ".join(f"{k} {v:g}" for k, v in sorted(training.interventions.items())) or "none"),
        ("oscillation", _oscillation(summary)),
        ("seed", f"{training.seed}; data selection seed {training.data_seed}"),
        ("device", f"{training.device}, AMP {'on' if training.amp else 'off'}"),
        ("overrides", ", ".join(f"{k} = {v}" for k, v in sorted(training.overrides.items())) or "none"),
        ("evaluation", f"{summary.evaluation.evaluator}, {summary.evaluation.head} head, {summary.evaluation.split}"),
        ("software", ", ".join(f"{name} {version}" for name, version in sorted(summary.versions.items()))),
    )
    return Table(columns=("setting", "value"), rows=rows)


def _oscillation(summary: RunSummary) -> str:
    found = summary.oscillation
    if found is None:
        return "not tracked"
    return (
        f"epoch {found.epoch}: {found.share:.2%} of weights above {found.threshold:g}, {found.switches:,} switches "
        f"({found.by_weight:,} by weight, {found.by_scale:,} by scale)"
    )
