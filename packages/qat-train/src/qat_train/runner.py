"""One run from its specification: references, training, checkpoint, record."""

import contextlib
import copy
import datetime
import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import torch
import ultralytics

import qat_artifacts
from qat_train import ranks
from qat_train.arguments import training_arguments
from qat_train.averaging import describe as describe_ema
from qat_train.checkpoint import Checkpoint, save_checkpoint
from qat_train.context import RunContext
from qat_train.detector import class_width, save_pt
from qat_train.disk import bytes_of_run, require_room
from qat_train.environment import git_state, versions
from qat_train.errors import Diverged, ResourceError, SpecError, TrainError
from qat_train.evaluator import hash_weights
from qat_train.insertion import OffGrid
from qat_train.interventions.teacher import TAUGHT
from qat_train.occupancy import sole_trainer
from qat_train.policy import load_policy
from qat_train.preparation import Prepared, measure_references, prepare, require_all_images
from qat_train.run import EpochRecord, Files, ModelBlock, References, Run, TrainingBlock
from qat_train.spec import RunSpec
from qat_train.state import load_state
from qat_train.trainer import QatTrainer

logger = logging.getLogger(__name__)

Resume = Literal["auto", "never", "must"]
Report = Callable[[EpochRecord, int], None]
_IDENTITY = "spec.sha256"  # in a run's folder: of what the run is


def execute(
    spec: RunSpec, out: Path, *, resume: Resume = "auto", threads: int = 1, pretrain: bool = False, report: Report
) -> Run:
    """Train, validate every epoch, and leave run.json, metrics.jsonl and a checkpoint in `out`.

    A completed run of the same specification is returned as it is. A run that was cut off continues from its last
    finished epoch and ends with the same numbers.

    Args:
        spec: what to run.
        out: the run's folder; made if absent.
        resume: "auto" continues where there is something to continue, "never" starts over, "must" refuses to start.
        threads: CPU threads for torch.
        pretrain: a floating-point run whose result is `model.pt`; classes may differ from the checkpoint's, and
            nothing is reparameterised.
        report: called after every epoch with its record and the number of epochs.

    Raises:
        SpecError, InputError, ResourceError: before or during training; run.json then says `failed`.
        Busy: another trainer is at work in `out`.
        OSError: a file cannot be written; what was written before stands, and the same call again goes on.
        Diverged: the run's own result; run.json is completed and holds the events that show it.
    """
    identity = spec_identity(spec, pretrain=pretrain)
    # Looked at before the lock, which writes: a finished run may lie in an archive.
    if resume != "never" and (done := _finished(out, identity)) is not None:
        return done
    out.mkdir(parents=True, exist_ok=True)
    with sole_trainer(out):
        return _execute(spec, out, identity, resume=resume, threads=threads, pretrain=pretrain, report=report)


def _execute(
    spec: RunSpec, out: Path, identity: str, *, resume: Resume, threads: int, pretrain: bool, report: Report
) -> Run:
    """`execute`, in a folder that nobody else writes into."""
    ranks.check(spec)
    if (done := _previous(out, identity, resume)) is not None:
        return done
    with ranks.others(spec, out, identity=identity, threads=threads, pretrain=pretrain) as company:
        return _train(spec, out, identity, company, threads=threads, pretrain=pretrain, report=report)


def _train(
    spec: RunSpec,
    out: Path,
    identity: str,
    company: ranks.Company,
    *,
    threads: int,
    pretrain: bool,
    report: Report,
) -> Run:
    """`execute`, where there is something to train."""
    folder = (out / "ultralytics").resolve()
    prepared = prepare(spec, folder=folder, threads=threads, pretrain=pretrain)
    inputs = [prepared.data.path]
    run = _record(prepared, threads)
    require_room(out, bytes_of_run(run.model.parameters))
    qat_artifacts.write(out / "run.json", run, inputs=inputs)
    trainer = make_trainer(prepared, out, folder=folder, identity=identity, threads=threads, report=report)
    context = trainer.context
    diverged: str | None = None
    try:
        if not pretrain:
            run = attrs.evolve(run, references=measure_references(prepared))
            qat_artifacts.write(out / "run.json", run, inputs=inputs)
        give_model(trainer, prepared, pretrain=pretrain)
        with company.training():
            trainer.train()
    except Diverged as error:
        diverged = str(error)
    except (TrainError, torch.OutOfMemoryError, torch.AcceleratorError, OSError) as error:
        why = qat_artifacts.printable(str(error))  # it may name a file whose name is no UTF-8
        failed = attrs.evolve(run, status="failed", error=why, events=tuple(context.events))
        with contextlib.suppress(OSError):  # a full disk: the record then says "running", as after a kill
            qat_artifacts.write(out / "run.json", failed, inputs=inputs)
        if isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError):
            raise _of_device(error, prepared.device) from error
        if isinstance(error, OffGrid):  # weights that this run made, no fault of what it was given
            raise TrainError(str(error)) from error
        raise
    checkpoint = None
    if diverged is None and pretrain:
        final = trainer.ema.ema if trainer.ema else trainer.net
        save_pt(final, out / "model.pt", train_arguments={"imgsz": spec.training.imgsz, "task": "detect"})
    elif diverged is None:
        _save_final(run, prepared, trainer, out / "checkpoint")
        checkpoint = "checkpoint/checkpoint.json"
    run = attrs.evolve(
        run,
        status="completed",
        error=diverged,
        ema=describe_ema(context.ema_schedule, trainer.ema.updates),
        training=attrs.evolve(
            run.training, effective_batch=trainer.batch_size, steps_per_epoch=len(trainer.train_loader)
        ),
        events=tuple(context.events),
        files=Files(checkpoint=checkpoint),
        seconds=context.seconds,
    )
    qat_artifacts.write(out / "run.json", run, inputs=[*inputs, out / "metrics.jsonl"])
    shutil.rmtree(out / "state", ignore_errors=True)  # the checkpoint holds raw and EMA weights
    ranks.part()
    if diverged is not None:
        raise Diverged(diverged)
    return run


def follow(order: ranks.Order, folder: Path) -> None:
    """Train as another rank of a run: the same as rank 0, and nothing is measured or written.

    Args:
        order: of rank 0.
        folder: for what Ultralytics insists to write.

    Raises:
        As `execute`.
    """
    prepared = prepare(order.spec, folder=folder, threads=order.threads, pretrain=order.pretrain)
    trainer = make_trainer(
        prepared,
        Path(order.out),
        folder=folder,
        identity=order.identity,
        threads=order.threads,
        report=lambda _record, _epochs: None,
    )
    give_model(trainer, prepared, pretrain=order.pretrain)
    try:
        trainer.train()
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        raise _of_device(error, prepared.device) from error


def _of_device(error: Exception, device: torch.device) -> ResourceError:
    why = str(error).splitlines()[0]
    if isinstance(error, torch.OutOfMemoryError):
        return ResourceError(f"out of memory: {why}")
    return ResourceError(f"device {device} failed: {why}; the same call again goes on")


def make_trainer(
    prepared: Prepared, out: Path, *, folder: Path, identity: str, threads: int, report: Report
) -> QatTrainer:
    """The trainer of a run, without its model: that is quantized first.

    Args:
        prepared: from the run's specification.
        out: the run's folder.
        folder: absolute; for what Ultralytics insists to write.
        identity: of the specification, see `spec_identity`.
        threads: CPU threads for torch.
        report: called after every epoch.
    """
    spec, data = prepared.spec, prepared.data
    trainer = QatTrainer(training_arguments(spec, data_yaml=data.yaml, folder=folder, device=prepared.device))
    trainer.context = RunContext(
        spec=spec,
        spec_sha256=identity,
        evaluator=prepared.evaluator,
        quantized_layers=prepared.quantization.quantized_layers,
        folder=out,
        device=prepared.device,
        threads=threads,
        report=report,
        scale_parameters=prepared.scale_parameters,
        check_images=lambda found: require_all_images("training", found, data.view.train.images, data.path),
    )
    return trainer


def give_model(trainer: QatTrainer, prepared: Prepared, *, pretrain: bool = False) -> None:
    """Quantize the model and hand it over; where interventions need it, a floating-point copy as their teacher."""
    if pretrain:
        trainer.model = prepared.model
        return
    if TAUGHT & set(prepared.spec.interventions):
        trainer.context.teacher = copy.deepcopy(prepared.model).eval().requires_grad_(False)
    prepared.quantize(prepared.model)
    trainer.model = prepared.model


@attrs.frozen(kw_only=True)
class _Fingerprint:
    SCHEMA: ClassVar[str] = "qat-data/dataset"
    VERSION: ClassVar[str] = "1.0"

    fingerprint: str


def spec_identity(spec: RunSpec, *, pretrain: bool) -> str:
    """SHA-256 of what the numbers depend on. Workers, threads, where files lie and which devices do not count."""
    body = qat_artifacts.unstructure(spec)
    for key in ("device", "workers", "threads"):
        del body["training"][key]
    if (count := len(ranks.devices_of(spec.training.device))) > 1:
        body["training"]["ranks"] = count  # each rank's batch norms see its share of a batch
    del body["references"], body["overrides"], body["model"]["trust_checkpoint"]
    checkpoint = Path(spec.model.checkpoint)
    body["model"]["checkpoint"] = (
        qat_artifacts.sha256_file(checkpoint) if checkpoint.is_file() else spec.model.checkpoint
    )
    if spec.quantization.quantizer == "qat-train":
        del body["quantization"]["quantizer"]  # a run that was begun before the key existed goes on
    if spec.quantization.enabled:
        rules = load_policy(spec.quantization.policy).rules  # not the path: a file may move, and its content may change
        described = [qat_artifacts.unstructure(rule) for rule in rules]
        if all(rule.max_share == 1.0 for rule in rules):  # likewise: the key is newer than many a run
            for rule in described:
                del rule["max_share"]
        body["quantization"]["policy"] = described
    dataset = Path(spec.data.dataset)
    dataset = dataset / "dataset.json" if dataset.is_dir() else dataset
    body["data"] = qat_artifacts.read_view(dataset, _Fingerprint).fingerprint
    return hashlib.sha256(qat_artifacts.dumps([body, pretrain]).encode()).hexdigest()


def _previous(out: Path, identity: str, resume: Resume) -> Run | None:
    """The completed run in `out`, if any; otherwise make sure that what lies there belongs to this specification.

    Raises:
        Diverged: it ended so, as the call that trained it said.
    """
    if resume == "never":
        for name in ("run.json", "metrics.jsonl", _IDENTITY, "model.pt"):
            (out / name).unlink(missing_ok=True)
        for name in ("state", "checkpoint", "ultralytics"):
            shutil.rmtree(out / name, ignore_errors=True)
    known = _identity_of(out)
    if known is not None and known != identity:
        raise SpecError(
            f"{out} holds a run of another specification; give another folder, or --resume never to start over"
        )
    if (done := _finished(out, identity)) is not None:
        return done
    if resume == "must" and load_state(out / "state") is None:
        raise SpecError(f"{out}: nothing to resume; use --resume auto to start")
    qat_artifacts.write_text(out / _IDENTITY, identity + "\n")
    return None


def _identity_of(out: Path) -> str | None:
    """Of the run in a folder; None where there is none."""
    marker = out / _IDENTITY
    return marker.read_text(encoding="utf-8").strip() if marker.exists() else None


def _finished(out: Path, identity: str) -> Run | None:
    """The completed run of this specification in `out`, if it is there; nothing is written.

    Raises:
        Diverged: it ended so, as the call that trained it said.
    """
    if _identity_of(out) != identity or not (out / "run.json").exists():
        return None
    run = qat_artifacts.read(out / "run.json", Run)
    if run.status != "completed":
        return None
    logger.info("%s is completed already", run.run_id)
    if run.error is not None:
        raise Diverged(run.error)
    return run


def _record(prepared: Prepared, threads: int) -> Run:
    """run.json as it is before training."""
    spec, key = prepared.spec, prepared.spec.training
    images = prepared.data.view.train.images
    return Run(
        run_id=spec.run.run_id,
        trajectory_id=spec.run.trajectory_id,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        status="running",
        git=git_state(Path(__file__).parent),
        model=ModelBlock(
            variant=spec.model.variant,
            checkpoint=spec.model.checkpoint,
            checkpoint_sha256=prepared.detector.sha256,
            imgsz=key.imgsz,
            parameters=sum(parameter.numel() for parameter in prepared.model.parameters()),
            class_match=prepared.class_match,
        ),
        quantization=prepared.quantization,
        ema=describe_ema(None, 0),
        dataset=prepared.data.describe(),
        training=TrainingBlock(
            framework=f"ultralytics {ultralytics.__version__}",
            epochs=key.epochs,
            batch=key.batch,
            effective_batch=key.batch,
            steps_per_epoch=-(-images // key.batch),
            seed=spec.run.seed,
            data_seed=prepared.data.view.selection.data_seed,
            device=ranks.describe(spec.training.device, prepared.device),
            amp=key.amp,
            workers=key.workers,
            threads=threads,
            optimizer=key.optimizer,
            interventions=spec.interventions,
            overrides=spec.overrides,
        ),
        evaluation=prepared.evaluation,
        references=References(fp32=None, ptq=None),
        series=spec.run.series,
        versions=versions("brevitas") if prepared.peer else versions(),
    )


def _save_final(run: Run, prepared: Prepared, trainer: QatTrainer, folder: Path) -> None:
    models: dict[str, Any] = {"raw": trainer.net} | ({"ema": trainer.ema.ema} if trainer.ema else {})
    for model in models.values():
        prepared.guard(model)
    checkpoint = Checkpoint(
        run_id=run.run_id,
        kind="final",
        epoch=trainer.epoch + 1,
        tensors="",
        tensors_sha256="",
        variant=run.model.variant,
        nc=len(run.dataset.classes),
        names=run.dataset.classes,
        imgsz=run.model.imgsz,
        class_width=class_width(prepared.model),
        architecture=json.loads(json.dumps(copy.deepcopy(prepared.model.yaml))),
        quantization=run.quantization,
        series=tuple(models),
        weights_sha256={name: hash_weights(model) for name, model in models.items()},
    )
    save_checkpoint(folder, checkpoint, {name: model.state_dict() for name, model in models.items()})
