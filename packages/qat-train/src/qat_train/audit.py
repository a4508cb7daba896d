"""What averaging did to a finished run: which codes differ between raw and EMA weights, and what that is worth.

A moving average helps a quantized model in two ways that one number hides: its weights round to other codes, and its
batch-norm statistics are calmer. `hybrids` measures the two apart.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import torch
from attrs import validators
from torch import Tensor, nn

import qat_artifacts
from qat_train import ranks
from qat_train.checkpoint import load_checkpoint
from qat_train.environment import use_threads
from qat_train.errors import InputError
from qat_train.evaluator import Evaluator
from qat_train.insertion import active_quantizers, layer_scale
from qat_train.preparation import choose_device
from qat_train.quantizer import codes
from qat_train.run import Evaluation, Run, Series

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_count = validators.ge(0)


@attrs.frozen(kw_only=True)
class LayerAudit:
    """One layer, or all of them together: codes of the raw weights against codes of the averaged ones.

    Attributes:
        weights: how many.
        differ: how many have another code.
        by_scale: of these, how many would agree at the raw weights' scale: they differ because the scale does.
        largest_distance: between two codes of one weight; a plain rounding flip is 1.
        scale_difference: |s_ema - s_raw| / s_raw, mean over the scales; `largest_scale_difference` is the maximum.
    """

    weights: int = attrs.field(validator=_count)
    differ: int = attrs.field(validator=_count)
    by_scale: int = attrs.field(validator=_count)
    largest_distance: int = attrs.field(validator=_count)
    scales: int = attrs.field(validator=_count)
    scale_difference: float = attrs.field(validator=_count)
    largest_scale_difference: float = attrs.field(validator=_count)

    def __attrs_post_init__(self) -> None:
        if not self.by_scale <= self.differ <= self.weights:
            raise ValueError(f"by_scale {self.by_scale} <= differ {self.differ} <= weights {self.weights} is expected")

    @property
    def share(self) -> float:
        """Of the weights that have another code."""
        return self.differ / self.weights if self.weights else 0.0

    @property
    def share_by_scale(self) -> float:
        """Of the other codes, those that differ because the scale does."""
        return self.by_scale / self.differ if self.differ else 0.0


@attrs.frozen(kw_only=True)
class Hybrid:
    """The weights of one series with the batch-norm statistics of one."""

    weights: Series
    statistics: Series
    evaluation: Evaluation


@attrs.frozen(kw_only=True)
class Audit:
    """audit.json. `layers` by path; `hybrids` is None where none were evaluated."""

    SCHEMA: ClassVar[str] = "qat-train/audit"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    epoch: int
    total: LayerAudit
    layers: dict[str, LayerAudit]
    hybrids: tuple[Hybrid, ...] | None


@torch.no_grad()
def compare_layer(raw: Tensor, raw_scale: Tensor, ema: Tensor, ema_scale: Tensor, bits: int) -> LayerAudit:
    """Compare the codes of two weights of one layer.

    Args:
        raw: weights, shape (C, ...).
        raw_scale: their scale, shape () or (C, 1, 1, 1).
        ema: averaged weights, of the same shape.
        ema_scale: their scale, of the shape of `raw_scale`.
        bits: 2 to 8.
    """
    before, after = codes(raw, raw_scale, bits), codes(ema, ema_scale, bits)
    differ = before != after
    agree_at_raw_scale = codes(ema, raw_scale, bits) == before
    relative = ((ema_scale - raw_scale).abs() / raw_scale).double()
    return LayerAudit(
        weights=raw.numel(),
        differ=int(differ.sum()),
        by_scale=int((differ & agree_at_raw_scale).sum()),
        largest_distance=int((before - after).abs().max()),
        scales=relative.numel(),
        scale_difference=float(relative.mean()),
        largest_scale_difference=float(relative.max()),
    )


def add_up(layers: Sequence[LayerAudit]) -> LayerAudit:
    """All layers as one; the mean scale difference is over scales, not over layers."""
    scales = sum(layer.scales for layer in layers)
    return LayerAudit(
        weights=sum(layer.weights for layer in layers),
        differ=sum(layer.differ for layer in layers),
        by_scale=sum(layer.by_scale for layer in layers),
        largest_distance=max(layer.largest_distance for layer in layers),
        scales=scales,
        scale_difference=sum(layer.scale_difference * layer.scales for layer in layers) / scales,
        largest_scale_difference=max(layer.largest_scale_difference for layer in layers),
    )


def audit(run_dir: Path, *, evaluate: bool, device: str | None, threads: int) -> Audit:
    """Audit the final checkpoint of a run.

    Args:
        run_dir: folder of a completed `qat-train run` that kept both series.
        evaluate: measure the four hybrids too, by the run's own evaluator.
        device: "cpu", "auto" or a CUDA index, for the hybrids; None takes the run's own.
        threads: CPU threads for torch.

    Raises:
        InputError: the run is not completed, lacks a series or quantizes nothing.
    """
    run, (_, path) = read_run(run_dir)
    raw, checkpoint = load_checkpoint(path, "raw")
    ema, _ = load_checkpoint(path, "ema")
    averaged = {name: (conv, quantizer) for name, conv, quantizer in active_quantizers(ema)}
    layers = {
        name: compare_layer(
            conv.weight, layer_scale(quantizer), averaged[name][0].weight, layer_scale(averaged[name][1]), bits
        )
        for name, conv, quantizer in active_quantizers(raw)
        for bits in (quantizer.num_bits,)
    }
    hybrids = None
    if evaluate:
        hybrids = evaluate_hybrids(_evaluation(run, run_dir, device, threads), {"raw": raw, "ema": ema})
    return Audit(
        run_id=run.run_id,
        epoch=checkpoint.epoch,
        total=add_up(list(layers.values())),
        layers=layers,
        hybrids=hybrids,
    )


def read_run(run_dir: Path) -> tuple[Run, tuple[Path, Path]]:
    """A run, and the paths of its run.json and checkpoint.json.

    Raises:
        InputError: as `audit`; the text says what the run lacks.
    """
    run = qat_artifacts.read(run_dir / "run.json", Run)
    if run.status != "completed" or run.files.checkpoint is None:
        state = run.status if run.error is None else f"{run.status}, {run.error}"
        raise InputError(f"{run_dir}: a completed run with a checkpoint is needed, this one is: {state}")
    if missing := {"raw", "ema"} - set(run.series):
        raise InputError(
            f"{run_dir}: both series are needed, raw and ema; this run kept no {' and no '.join(sorted(missing))}: "
            'train it with run.series = ["raw", "ema"]'
        )
    if not run.quantization.quantized_layers:
        raise InputError(f"{run_dir}: a quantized run is needed, this one is in floating point and has no codes")
    return run, (run_dir / "run.json", run_dir / run.files.checkpoint)


Evaluate = Callable[[Any], Evaluation]


def _evaluation(run: Run, run_dir: Path, device: str | None, threads: int) -> Evaluate:
    chosen = choose_device(device or ranks.first_of(run.training.device))
    evaluator = Evaluator(
        Path(run.dataset.dataset_yaml),
        imgsz=run.model.imgsz,
        batch=2 * run.training.batch,
        device=chosen,
        folder=run_dir / "ultralytics",
    )
    use_threads(threads)
    return lambda model: evaluator(model.to(chosen), quantized_layers=run.quantization.quantized_layers)


def with_statistics(model: nn.Module, source: nn.Module) -> Any:
    """A copy of `model` with the batch-norm statistics of `source`; gamma and beta are weights and stay."""
    mixed = copy.deepcopy(model)
    buffers = {name: b for name, b in source.state_dict().items() if name.rpartition(".")[2] in STATISTICS}
    mixed.load_state_dict(buffers, strict=False)
    return mixed


def evaluate_hybrids(evaluate: Evaluate, models: Mapping[Series, nn.Module]) -> tuple[Hybrid, ...]:
    """The four combinations of weights and batch-norm statistics, each evaluated."""
    return tuple(
        Hybrid(
            weights=weights,
            statistics=statistics,
            evaluation=evaluate(with_statistics(models[weights], models[statistics])),
        )
        for weights in models
        for statistics in models
    )


def describe(record: Audit, top: int = 12) -> str:
    """The total, the layers with the largest share of other codes, and the hybrids, as text."""
    ranked = sorted(record.layers.items(), key=lambda item: (-item[1].share, item[0]))[:top]
    width = max(len(name) for name, _ in ranked)
    lines = [
        f"{record.run_id}, epoch {record.epoch}: codes of the EMA weights against the raw weights",
        f"{'layer':{width}}  {'weights':>9} {'differ':>8} {'share':>7} {'by scale':>8} {'distance':>8} {'scale':>8}",
    ]
    for name, layer in [("all layers", record.total), *ranked]:
        lines.append(
            f"{name:{width}}  {layer.weights:9d} {layer.differ:8d} {layer.share:7.2%} {layer.share_by_scale:8.2%} "
            f"{layer.largest_distance:8d} {layer.scale_difference:8.2e}"
        )
    if left := len(record.layers) - len(ranked):
        lines.append(
            f"and {left} layers with fewer; by scale: of the codes that differ; scale: mean relative difference"
        )
    if record.hybrids is not None:
        found = {(h.weights, h.statistics): h.evaluation.map50_95 for h in record.hybrids}
        start = found["raw", "raw"]
        lines += ["", "weights  batch-norm statistics  mAP50-95  against raw"]
        for (weights, statistics), value in found.items():
            lines.append(f"{weights:8} {statistics:22} {value:.4f}    {value - start:+.4f}")
    return "\n".join(lines)
