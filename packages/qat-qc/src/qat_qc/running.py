"""A whole correction of a task: evaluate, train, fold, evaluate, save, record."""

import logging
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import attrs
import torch

import qat_artifacts
from qat_qc.correction import Correction, LayerCorrection, identity
from qat_qc.errors import TaskError
from qat_qc.folding import fold_and_compare
from qat_qc.protocol import Task
from qat_qc.records import CorrectedLayer, CorrectionRecord, Evaluation, Folding, Loss, SkippedLayer
from qat_qc.training import Progress, train

logger = logging.getLogger(__name__)
GROUP = "qat_qc.tasks"


def load_task(run_dir: Path, weights: str, *, task: str | None = None, device: str | None = None) -> Task:
    """Open a run through the entry point `task`, or through the only one installed.

    Raises:
        TaskError: none or several are installed, or not the one asked for.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if task is None and len(found) == 1:
        task = next(iter(found))
    if task not in found:
        installed = ", ".join(sorted(found)) or "none"
        wanted = f"no task {task!r}" if task else "several tasks" if found else "no task"
        raise TaskError(f"{wanted} under the entry point group {GROUP} (installed: {installed}); choose with --task")
    opened: Task = found[task].load()(run_dir, weights, device)
    return opened


def correct(
    task: Task,
    out: Path,
    *,
    weights: Literal["ema", "raw"],
    epochs: int = 1,
    lr: float = 1e-4,
    seed: int = 0,
    inputs: tuple[Path, ...] = (),
    report: Callable[[Progress], None] = lambda _: None,
) -> CorrectionRecord:
    """Correct the task's model; write checkpoint and qc.json into `out`, qc.json last.

    Raises:
        CorrectionError: see `train` and `fold`.
    """
    before = _evaluate(task)
    logger.info("before correction: mAP50-95 %.4f", before.map50_95)
    correction = identity(task.model, task.layers())
    grid_layers = [
        layer for layer in correction.layers if layer.batch_norm is not None or task.is_per_channel(layer.name)
    ]
    unfoldable = [layer.name for layer in correction.layers if layer not in grid_layers]
    correction = Correction(layers=tuple(grid_layers))
    trained = train(
        task.model,
        correction,
        task.batches,
        task.loss,
        images=task.images,
        epochs=epochs,
        lr=lr,
        seed=seed,
        report=report,
    )
    batch, _ = next(iter(task.batches(seed)))
    folded, _ = fold_and_compare(task.model, correction, task, _inputs(batch))
    after = _evaluate(task)
    logger.info("after correction: mAP50-95 %.4f", after.map50_95)
    checkpoint = task.save(out)
    record = CorrectionRecord(
        task=task.name,
        run_id=task.run_id,
        weights=weights,
        epochs=epochs,
        lr=lr,
        optimizer="Adam",
        bn_stats_fixed=True,
        seed=seed,
        images=trained.images,
        steps=trained.steps,
        seconds=trained.seconds,
        loss=Loss(first=trained.first, last=trained.last),
        layers=tuple(_describe(layer) for layer in correction.layers),
        skipped=tuple(
            SkippedLayer(name=name, reason="no batch norm, and one scale for the whole tensor") for name in unfoldable
        ),
        before=before,
        after=after,
        folding=Folding(**attrs.asdict(folded)),
        checkpoint=checkpoint.name,
    )
    qat_artifacts.write(out / "qc.json", record, inputs=[*inputs, checkpoint])
    return record


def _evaluate(task: Task) -> Evaluation:
    return qat_artifacts.structure(task.evaluate(), Evaluation, source=f"evaluation of {task.run_id}", strict=False)


def _inputs(batch: Any) -> torch.Tensor:
    """Images of a batch: the batch itself, or its `img`."""
    images: torch.Tensor = batch["img"] if isinstance(batch, dict) else batch
    return images


def _describe(layer: LayerCorrection) -> CorrectedLayer:
    gamma, beta = layer.gamma.detach(), layer.beta.detach()
    return CorrectedLayer(
        name=layer.name,
        form="bias" if layer.batch_norm is None else "batch-norm",
        channels=gamma.numel(),
        gamma_min=float(gamma.min()),
        gamma_max=float(gamma.max()),
        beta_abs_max=float(beta.abs().max()),
    )
