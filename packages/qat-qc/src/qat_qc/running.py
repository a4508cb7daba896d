"""A whole correction of a task: evaluate, re-estimate, train, fold, evaluate, save, record."""

import logging
import time
from collections.abc import Callable, Collection
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import attrs
import torch

import qat_artifacts
from qat_qc.batch_norm import reestimate_bn
from qat_qc.correction import PARAMETERS, Correction, LayerCorrection, Parameter, identity
from qat_qc.errors import CorrectionError, TaskError
from qat_qc.folding import fold_and_compare
from qat_qc.protocol import Task
from qat_qc.records import (
    STAGES,
    CorrectedLayer,
    CorrectionRecord,
    Evaluation,
    Folding,
    Loss,
    SkippedLayer,
    Stage,
)
from qat_qc.training import Progress, train
from qat_qc.visits import Visits

logger = logging.getLogger(__name__)
GROUP = "qat_qc.tasks"
QC_ALONE: tuple[Stage, ...] = ("qc",)


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
    stages: Collection[Stage] = QC_ALONE,
    parameters: Collection[Parameter] = PARAMETERS,
    epochs: int = 1,
    lr: float = 1e-4,
    seed: int = 0,
    inputs: tuple[Path, ...] = (),
    report: Callable[[Progress], None] = lambda _: None,
) -> CorrectionRecord:
    """Correct the task's model; write checkpoint and qc.json into `out`, qc.json last.

    Args:
        task: its model is changed in place.
        out: folder to write to.
        weights: which of the run's weights the model holds; recorded.
        stages: "bn" re-estimates batch norm statistics, "qc" trains and folds corrections; bn comes first.
        parameters: what qc trains; the others stay at the identity, gamma 1 or beta 0.
        epochs: of qc; bn is one pass.
        lr: of Adam in qc.
        seed: order of the images.
        inputs: files that the task was made from; their hashes go into qc.json.
        report: called after every step of qc.

    Raises:
        CorrectionError: nothing to re-estimate or to correct; see `reestimate_bn`, `train` and `fold`.
        ValueError: no stage, or one that is neither bn nor qc; see `train`.
    """
    if not stages or set(stages) - set(STAGES):
        raise ValueError(f"stages must be bn, qc or both, found {tuple(stages)}")
    started = time.monotonic()
    before = _evaluate(task)
    logger.info("before correction: mAP50-95 %.4f", before.map50_95)
    batch_norms, skipped = _reestimate(task, seed) if "bn" in stages else (0, ())
    trained = folded = None
    correction = Correction(layers=())
    if "qc" in stages:
        correction, unfoldable = _foldable(task)
        skipped += unfoldable
        trained = train(
            task.model,
            correction,
            task.batches,
            task.loss,
            images=task.images,
            parameters=parameters,
            epochs=epochs,
            lr=lr,
            seed=seed,
            report=report,
        )
        batch, _ = next(iter(task.batches(seed)))
        folded, _ = fold_and_compare(task.model, correction, task, _inputs(batch))
    seconds = time.monotonic() - started
    after = _evaluate(task)
    logger.info("after correction: mAP50-95 %.4f", after.map50_95)
    checkpoint = task.save(out)
    record = CorrectionRecord(
        task=task.name,
        run_id=task.run_id,
        weights=weights,
        stages=tuple(stage for stage in STAGES if stage in stages),
        trained=tuple(name for name in PARAMETERS if trained and name in parameters),
        batch_norms=batch_norms,
        epochs=epochs if trained else None,
        lr=lr if trained else None,
        optimizer="Adam" if trained else None,
        bn_stats_fixed="bn" not in stages,
        seed=seed,
        images=task.images,
        steps=trained.steps if trained else 0,
        seconds=seconds,
        loss=Loss(first=trained.first, last=trained.last) if trained else None,
        layers=tuple(_describe(layer) for layer in correction.layers),
        skipped=skipped,
        before=before,
        after=after,
        folding=Folding(**attrs.asdict(folded)) if folded else None,
        checkpoint=checkpoint.name,
    )
    qat_artifacts.write(out / "qc.json", record, inputs=[*inputs, checkpoint])
    return record


def _reestimate(task: Task, seed: int) -> tuple[int, tuple[SkippedLayer, ...]]:
    """Stage bn: how many batch norms were re-estimated, and the layers that have none."""
    visits = Visits(batches=task.training_batches(seed), images=task.images, name="batch norm re-estimation")
    count = reestimate_bn(task.model, visits, task.forward)
    if not count:
        raise CorrectionError("the model has no batch norm to re-estimate; leave out stage bn")
    logger.info("batch norm statistics re-estimated: %d batch norms, %d images", count, visits.seen)
    return count, tuple(
        SkippedLayer(stage="bn", name=layer.name, reason="no batch norm")
        for layer in task.layers()
        if layer.batch_norm is None
    )


def _foldable(task: Task) -> tuple[Correction, tuple[SkippedLayer, ...]]:
    """Stage qc: identity corrections of the layers that can be folded, and the other layers."""
    everything = identity(task.model, task.layers()).layers
    kept = tuple(layer for layer in everything if layer.batch_norm is not None or task.is_per_channel(layer.name))
    if not kept:
        raise CorrectionError("the model has no quantized layer that a correction can be folded into")
    names = {layer.name for layer in kept}
    return Correction(layers=kept), tuple(
        SkippedLayer(stage="qc", name=layer.name, reason="no batch norm, and one scale for the whole tensor")
        for layer in everything
        if layer.name not in names
    )


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
        form=layer.form,
        channels=gamma.numel(),
        gamma_min=float(gamma.min()),
        gamma_max=float(gamma.max()),
        beta_abs_max=float(beta.abs().max()),
    )
