"""Ultralytics' trainer with the parts replaced that would blur the evidence.

Each override says which behaviour of ultralytics 8.4 it replaces. The training step itself (batches, loss, optimizer,
schedule, gradient clipping) is Ultralytics' own.
"""

import contextlib
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
import ultralytics.engine.trainer as ultralytics_trainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from ultralytics.models.yolo.detect import DetectionTrainer

from qat_train import ranks
from qat_train.averaging import NoEma, build_ema, schedule
from qat_train.context import RunContext
from qat_train.drift import DriftMeter
from qat_train.environment import use_threads
from qat_train.errors import Diverged, ResourceError
from qat_train.insertion import keep_scales_positive
from qat_train.interventions import build as build_interventions
from qat_train.isolation import isolated, replaced
from qat_train.metrics import write_metrics
from qat_train.oscillation import Tracker
from qat_train.randomness import epoch_seed, seed_everything
from qat_train.run import EpochRecord, Evaluation, Event
from qat_train.state import (
    TrainingState,
    load_state,
    optimizer_groups,
    optimizer_tensors,
    restore_optimizer,
    save_state,
    with_prefix,
    without_prefix,
)
from qat_train.weight_pass import WeightPass

MOST_ROLLBACKS = 3  # per run, the same for every method


class _Through(Exception):
    """There is no epoch left to train."""


class QatTrainer(DetectionTrainer):  # type: ignore[misc]  # ultralytics publishes no types
    """DetectionTrainer on a model that is quantized already.

    Set `context` and `model` after construction, then call `train()`. In a run of several ranks (`qat_train.ranks`)
    every one of them trains, and rank 0 alone evaluates and writes.
    """

    context: RunContext

    def __init__(self, overrides: Mapping[str, Any]) -> None:
        # Whatever tracker is importable (MLflow, TensorBoard, ...) would be logged to, unasked.
        with isolated(), replaced(ultralytics_trainer.callbacks, "add_integration_callbacks", lambda _: None):
            super().__init__(overrides=dict(overrides))
        if (count := ranks.world_size()) > 1:
            self.world_size: int = count  # on a CPU too
        self.set_callback("on_train_start", type(self)._on_train_start)
        self.set_callback("on_train_epoch_start", type(self)._begin_epoch)
        self.set_callback("on_train_batch_start", type(self)._begin_batch)
        self.best_fitness: float | None = None
        self._rollbacks = 0
        self._batches = 0  # begun so far, those of a resumed run's earlier epochs included
        self._epoch_events: list[Event] = []
        self._epoch_started = 0.0
        self._elapsed_before = 0.0
        self._started = time.monotonic()

    @property
    def net(self) -> Any:
        """The model itself, without the wrapper that several ranks need."""
        return self.model.module if isinstance(self.model, DistributedDataParallel) else self.model

    # Setup ------------------------------------------------------------------------------------------------------------

    def _setup_ddp(self) -> None:
        """Meet the other ranks without a port, and on a CPU too."""
        self.device = self.context.device
        ranks.join(self.device)

    def _setup_train(self) -> None:
        """Build no EMA where the method has none, and our schedule where it has one.

        Ultralytics builds `ModelEMA(model)` with decay 0.9999 in every run; a baseline that carries an average is no
        baseline.
        """
        with (
            isolated(),
            replaced(ultralytics_trainer, "ModelEMA", self._build_average),
            replaced(nn.parallel, "DistributedDataParallel", _parallel),
        ):
            super()._setup_train()
        self.context.check_images(len(self.train_loader.dataset))
        use_threads(self.context.threads)

    def _build_average(self, _model: Any) -> Any:
        """The average, then what watches the model: its hooks must not be copied into the average."""
        spec, model = self.context.spec, self.net
        average: Any = NoEma()
        if spec.ema.enabled:
            self.context.ema_schedule = schedule(spec.ema, len(self.train_loader) * self.epochs)
            average = build_ema(model, self.context.ema_schedule)
        if spec.quantization.enabled and spec.quantization.quantizer == "qat-train":
            WeightPass(model)
        self._tracker = Tracker(model, bits=spec.quantization.bits)
        self._drift = DriftMeter(model)
        self._interventions = build_interventions(
            spec.interventions, model=model, tracker=self._tracker, teacher=self.context.teacher
        )
        return average

    def build_optimizer(self, model: Any, **options: Any) -> Any:
        """Ultralytics' optimizer, with learned scales in a group of their own: it would decay them like weights."""
        optimizer = super().build_optimizer(model=model, **options)
        if scales := self.context.scale_parameters(model):
            theirs = {id(amax) for amax in scales}
            for group in optimizer.param_groups:
                group["params"] = [p for p in group["params"] if id(p) not in theirs]
            optimizer.add_param_group(
                {
                    "params": scales,
                    "lr": self.context.spec.quantization.scale_lr,
                    "weight_decay": 0.0,
                    "param_group": "scale",
                }
            )
        return optimizer

    def _build_train_pipeline(self) -> None:
        """Fail where Ultralytics would go on with half the batch after running out of memory."""
        if getattr(self, "_oom_retries", 0):
            raise ResourceError(
                f"out of memory with training.batch = {self.context.spec.training.batch}; a smaller batch is another "
                "experiment: set training.batch for every run of the comparison"
            )
        super()._build_train_pipeline()

    def resume_training(self, ckpt: Any) -> None:
        """Continue from our own state, where there is one of the same specification."""
        found = load_state(self._state_folder)
        if found is None:
            return
        state, tensors = found
        self._restore(state, tensors)
        self.start_epoch = state.epoch
        self.context.records[:] = state.records
        self.context.events[:] = state.events
        self._elapsed_before = self.context.seconds = state.seconds
        if 0 < state.epoch < self.epochs:
            self._note(state.epoch + 1, "resumed", f"continued after epoch {state.epoch}")

    def _on_train_start(self) -> None:
        if self.start_epoch >= self.epochs:
            self.epoch = self.epochs - 1
            if ranks.rank() == 0:
                write_metrics(self.context.folder, self.context.records)
            raise _Through
        if self.start_epoch == 0 and not self.context.records and ranks.rank() == 0:
            self._save_state(0)  # so that a first epoch that goes wrong can be redone too
        self._started = time.monotonic()
        self.optimizer.register_step_post_hook(lambda *_: self._after_step())
        if self._interventions:
            self.net.register_forward_hook(self._add_terms)

    def _begin_epoch(self) -> None:
        """Start every epoch from (seed, epoch) alone, so that any epoch can be redone bit for bit."""
        seed = epoch_seed(self.context.spec.run.seed, self.epoch, self._rollbacks)
        if ranks.world_size() > 1:  # one order of the images for all ranks, and other augmentations in each
            self.train_loader.sampler.seed = seed
            self.train_loader.sampler.set_epoch(self.epoch)
            seed = (seed + ranks.rank()) % 2**32
        seed_everything(seed)
        self.train_loader.generator.manual_seed(seed)
        self.train_loader.reset()
        dataset = self.train_loader.dataset
        dataset.buffer.clear()  # mosaic draws from images seen lately
        if dataset.cache is None or dataset.cache is False:
            dataset.ims = [None] * dataset.ni
            dataset.im_hw0 = [None] * dataset.ni
            dataset.im_hw = [None] * dataset.ni
        self._batches = self.epoch * len(self.train_loader)
        self._epoch_started = time.monotonic()

    def _begin_batch(self) -> None:
        self._batches += 1

    def _do_train(self) -> None:
        """Nothing, where the last epoch is done already and what was cut off came after it."""
        with contextlib.suppress(_Through):
            super()._do_train()

    # One epoch --------------------------------------------------------------------------------------------------------

    def optimizer_step(self) -> None:
        """Record steps that the gradient scaler skipped."""
        scale = self.scaler.get_scale()
        super().optimizer_step()
        if self.scaler.is_enabled() and self.scaler.get_scale() < scale:
            self._note(self.epoch + 1, "scaler-skip", f"gradient scale {scale:g} overflowed")

    @property
    def _progress(self) -> float:
        """Share of the training's steps that are done, the one at work not counted."""
        share: float = (self._batches - 1) / (len(self.train_loader) * self.epochs)
        return share

    def _add_terms(self, _model: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Add the interventions' terms to the loss of a training batch, in its own measure: a sum over images."""
        if not isinstance(inputs[0], dict):
            return None  # an evaluation
        images, (loss, items) = inputs[0]["img"], output
        loss, items = loss.sum(), dict(items)
        for name, intervention in self._interventions.items():
            term = intervention.loss(images, self._progress)
            if term is not None:
                loss = loss + term * images.shape[0]
            items[name] = loss.new_zeros(()) if term is None else term.detach()
        return loss, items

    def _after_step(self) -> None:
        """After the optimizer moved weights and scales, before the average takes them in."""
        keep_scales_positive(self.model)
        for intervention in self._interventions.values():
            intervention.constrain()
        self._tracker.update()
        for intervention in self._interventions.values():
            intervention.after_step(self._progress)

    def validate(self) -> tuple[dict[str, float], float]:
        """Evaluate each series of the run on the weights it names; Ultralytics evaluates `ema or model`, rounded.

        Once, on rank 0: its batch norms are those that are kept.
        """
        points = {name: self._evaluate(name) for name in self.context.spec.run.series if ranks.rank() == 0}
        losses = ranks.mean({k: float(v) for k, v in (self.tloss or {}).items()}, self.device)
        self._losses_finite = all(map(math.isfinite, losses.values()))
        record = EpochRecord(
            epoch=self.epoch + 1,
            steps=len(self.train_loader) * (self.epoch + 1),
            seconds=time.monotonic() - self._epoch_started,
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            loss={k.removesuffix("_loss"): v if math.isfinite(v) else None for k, v in losses.items()},
            raw=points.get("raw"),
            ema=points.get("ema"),
            events=tuple(self._epoch_events),
            oscillation=self._tracker.record() if self._tracker.layers else None,
            drift=self._drift.record(),
        )
        self._drift.mark()
        self._pending = record
        last = next((p for p in reversed(list(points.values())) if p is not None), None)
        names = ("metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)")
        values = (last.precision, last.recall, last.map50, last.map50_95) if last else (math.nan,) * 4
        fitness = last.map50_95 if last else math.nan
        best: float = self.best_fitness or 0.0
        self.best_fitness = max(best, fitness if math.isfinite(fitness) else 0.0)
        use_threads(self.context.threads)
        return dict(zip(names, values, strict=True)), fitness

    def _evaluate(self, series: str) -> Evaluation | None:
        model = self.net if series == "raw" else self.ema.ema
        if not _finite(model.state_dict()):
            return None
        return self.context.evaluator(model, quantized_layers=self.context.quantized_layers)

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Roll back to our own last state, count it, and give up after three.

        Ultralytics repairs the EMA in silence and reloads raw weights from the fp16 EMA. The redone epoch draws other
        batches: with the same ones it would fail in the same way.
        """
        fault = ranks.of_first(self._fault())
        if fault is None:
            self.context.records.append(self._pending)
            self._epoch_events = []
            return False
        self._note(epoch + 1, fault, "not finite at the end of the epoch")
        if self._rollbacks >= MOST_ROLLBACKS:
            self.context.records.append(attrs.evolve(self._pending, events=tuple(self._epoch_events)))
            if ranks.rank() == 0:
                write_metrics(self.context.folder, self.context.records)
            raise Diverged(f"epoch {epoch + 1}: {fault} after {MOST_ROLLBACKS} rollbacks")
        found = load_state(self._state_folder)
        if found is None:
            raise Diverged(f"epoch {epoch + 1}: {fault} and no state to return to")
        self._rollbacks += 1
        self._restore(*found, rollback=True)
        self._note(epoch + 1, "rollback", f"{self._rollbacks} of {MOST_ROLLBACKS}: back to the end of epoch {epoch}")
        self.scheduler.last_epoch = epoch - 1
        return True

    def _fault(self) -> Any:
        if not self._losses_finite or not torch.isfinite(self.loss.detach()).all():
            return "nan-loss"
        averaged = self.ema.ema.state_dict() if self.ema else {}
        if not _finite(self.net.state_dict()) or not _finite(averaged):
            return "nan-weights"
        return None

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """Ultralytics' results.csv, for who looks for it: on a full disk our state fails, and says what it needs."""
        with contextlib.suppress(OSError):
            super().save_metrics(metrics)

    def save_model(self) -> bool:
        """Write our fp32 state; Ultralytics would write the EMA alone, in fp16, after replacing NaN by numbers."""
        self._save_state(self.epoch + 1)
        self.context.seconds = self._elapsed()
        write_metrics(self.context.folder, self.context.records)
        self.context.report(self.context.records[-1], self.epochs)
        return True

    def final_eval(self) -> None:
        """No second evaluation: the result is the last epoch's, not that of the best epoch's fused fp16 EMA."""

    # State ------------------------------------------------------------------------------------------------------------

    @property
    def _state_folder(self) -> Path:
        return self.context.folder / "state"

    def _elapsed(self) -> float:
        return self._elapsed_before + time.monotonic() - self._started

    def _note(self, epoch: int, kind: Any, detail: str) -> None:
        event = Event(epoch=epoch, kind=kind, detail=detail)
        self.context.events.append(event)
        self._epoch_events.append(event)

    def _save_state(self, epoch: int) -> None:
        tensors = with_prefix("raw", self.net.state_dict()) | optimizer_tensors(self.optimizer)
        if self.ema:
            tensors |= with_prefix("ema", self.ema.ema.state_dict())
        tensors |= with_prefix("tracker", self._tracker.state()) | with_prefix("drift", self._drift.state())
        for name, intervention in self._interventions.items():
            tensors |= with_prefix(f"interventions.{name}", intervention.state())
        criterion = getattr(self.net, "criterion", None)
        state = TrainingState(
            epoch=epoch,
            spec_sha256=self.context.spec_sha256,
            tensors="",
            tensors_sha256="",
            ema_updates=self.ema.updates,
            criterion_updates=getattr(criterion, "updates", 0),
            rollbacks=self._rollbacks,
            seconds=self._elapsed(),
            optimizer_groups=optimizer_groups(self.optimizer),
            scaler=dict(self.scaler.state_dict()),
            records=tuple(self.context.records),
            events=tuple(self.context.events),
        )
        save_state(self._state_folder, state, tensors)

    def _restore(self, state: TrainingState, tensors: Mapping[str, Tensor], *, rollback: bool = False) -> None:
        self.net.load_state_dict(without_prefix("raw", tensors))
        if self.ema:
            self.ema.ema.load_state_dict(without_prefix("ema", tensors))
            self.ema.updates = state.ema_updates
        restore_optimizer(self.optimizer, state, tensors)
        self._tracker.load_state(without_prefix("tracker", tensors))
        self._drift.load_state(without_prefix("drift", tensors))
        self._drift.mark()
        for name, intervention in self._interventions.items():
            intervention.load_state(without_prefix(f"interventions.{name}", tensors))
        if state.scaler:
            self.scaler.load_state_dict(dict(state.scaler))
        if getattr(self.net, "criterion", None) is None:
            self.net.criterion = self.net.init_criterion()
        criterion = self.net.criterion
        if hasattr(criterion, "update"):  # the dual head's loss weights move with the epoch
            criterion.updates = state.criterion_updates - 1
            criterion.update()
        if not rollback:
            self._rollbacks = state.rollbacks


def _finite(tensors: Mapping[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())


def _parallel(model: nn.Module, *, device_ids: list[int | None], **options: Any) -> DistributedDataParallel:
    """Ultralytics' wrapper on a CPU too, which has no index."""
    return DistributedDataParallel(model, device_ids=None if device_ids == [None] else device_ids, **options)
