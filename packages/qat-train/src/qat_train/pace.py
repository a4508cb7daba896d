"""How fast a run would be on this machine, from a few of its own steps: what a plan of GPU-hours rests on."""

import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import torch
from attrs.validators import ge, gt

from qat_train.disk import bytes_of_run
from qat_train.environment import versions
from qat_train.preparation import prepare
from qat_train.runner import give_model, make_trainer, spec_identity
from qat_train.spec import RunSpec
from qat_train.trainer import QatTrainer

WARM_UP = 2  # steps: allocators, autotuning of convolutions, workers that start


@attrs.frozen(kw_only=True)
class Pace:
    """Seconds of one specification on one machine.

    Attributes:
        step_seconds: median of a training step of `batch` images: loading, forward, backward, optimizer, averages.
        step_spread: largest minus smallest of the measured steps, in seconds.
        image_seconds: of an evaluation, one image of one series, metrics included.
        start_seconds: of a process until its first step, its imports included; the references of a run are left out.
        epoch_seconds: what follows for a whole epoch: its steps, and an evaluation of each series.
        peak_bytes: most memory that torch held on the GPU; None on the CPU.
        run_bytes: an upper estimate of what a run holds on the disk at once.
        series: how many are evaluated after each epoch.
    """

    SCHEMA: ClassVar[str] = "qat-train/pace"
    VERSION: ClassVar[str] = "1.0"

    variant: str
    quantizer: str
    imgsz: int = attrs.field(validator=gt(0))
    batch: int = attrs.field(validator=gt(0))
    amp: bool
    bits: int = attrs.field(validator=gt(0))
    learned: bool
    interventions: tuple[str, ...]
    device: str
    device_kind: Literal["cpu", "cuda"]
    threads: int = attrs.field(validator=gt(0))
    train_images: int = attrs.field(validator=gt(0))
    val_images: int = attrs.field(validator=gt(0))
    series: int = attrs.field(validator=ge(0))
    steps: int = attrs.field(validator=gt(0))
    step_seconds: float = attrs.field(validator=gt(0.0))
    step_spread: float = attrs.field(validator=ge(0.0))
    image_seconds: float = attrs.field(validator=gt(0.0))
    start_seconds: float = attrs.field(validator=ge(0.0))
    epoch_seconds: float = attrs.field(validator=gt(0.0))
    peak_bytes: int | None
    run_bytes: int = attrs.field(validator=gt(0))
    versions: dict[str, str]


class _Enough(Exception):
    """All steps are measured: the way out of Ultralytics' loop."""


class _Stopwatch:
    """Seconds of training steps, loading of their images included; what lies between two epochs is not."""

    def __init__(self, trainer: QatTrainer, steps: int, device: torch.device) -> None:
        self._wanted, self._device = WARM_UP + steps, device
        self._mark = self.first = 0.0
        self._seconds: list[float] = []
        trainer.add_callback("on_train_epoch_start", self._start)
        trainer.add_callback("on_train_batch_end", self._lap)

    def _start(self, _trainer: Any) -> None:
        self._mark = self._now()
        self.first = self.first or self._mark

    def _lap(self, _trainer: Any) -> None:
        now = self._now()
        self._seconds.append(now - self._mark)
        self._mark = now
        if len(self._seconds) == self._wanted:
            raise _Enough

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # kernels run behind the calls that asked for them
        return time.monotonic()

    @property
    def steps(self) -> list[float]:
        """Those after the warm-up."""
        return self._seconds[WARM_UP:]


def measure(spec: RunSpec, *, steps: int, threads: int, before: float = 0.0) -> Pace:
    """Train a few steps of a specification, evaluate a few images, keep nothing.

    The epochs are as long as they have to be for the steps: a data set of fewer batches is gone through several times,
    and evaluated in between, which is not counted.

    Args:
        spec: of the run; its images, its batch, its device.
        steps: how many to measure, after a warm-up of two.
        threads: CPU threads for torch.
        before: seconds that the process has run already, as a run would have: its imports.

    Raises:
        SpecError, InputError, ResourceError: as of a run.
    """
    started = time.monotonic() - before
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = prepare(spec, folder=folder / "ultralytics", threads=threads)
        epochs = attrs.evolve(spec.training, epochs=max(spec.training.epochs, WARM_UP + steps + 1))
        endless = attrs.evolve(prepared, spec=attrs.evolve(spec, training=epochs))
        trainer = make_trainer(
            endless,
            folder,
            folder=folder / "ultralytics",
            identity=spec_identity(spec, pretrain=False),
            threads=threads,
            report=lambda *_: None,
        )
        give_model(trainer, prepared)
        model, cuda = prepared.model, prepared.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(prepared.device)
        watch = _Stopwatch(trainer, steps, prepared.device)
        with contextlib.suppress(_Enough):
            trainer.train()
        trainer.train_loader.close()  # its workers would load on, beside what is measured next
        peak = torch.cuda.max_memory_allocated(prepared.device) if cuda else None
        image_seconds = prepared.evaluator.seconds_per_image(model, images=4 * spec.training.batch)
    images = prepared.data.view.train.images, prepared.data.view.val.images
    series, step_seconds = len(spec.run.series), statistics.median(watch.steps)
    return Pace(
        variant=spec.model.variant,
        quantizer=spec.quantization.quantizer,
        imgsz=spec.training.imgsz,
        batch=spec.training.batch,
        amp=spec.training.amp,
        bits=spec.quantization.bits,
        learned=spec.quantization.learned,
        interventions=tuple(sorted(spec.interventions)),
        device=torch.cuda.get_device_name(prepared.device) if cuda else "cpu",
        device_kind="cuda" if cuda else "cpu",
        threads=threads,
        train_images=images[0],
        val_images=images[1],
        series=series,
        steps=steps,
        step_seconds=step_seconds,
        step_spread=max(watch.steps) - min(watch.steps),
        image_seconds=image_seconds,
        start_seconds=watch.first - started,
        epoch_seconds=-(-images[0] // spec.training.batch) * step_seconds + series * images[1] * image_seconds,
        peak_bytes=peak,
        run_bytes=bytes_of_run(sum(parameter.numel() for parameter in model.parameters())),
        versions=versions(),
    )


def describe(pace: Pace) -> str:
    """Lines for people."""
    memory = "" if pace.peak_bytes is None else f", {pace.peak_bytes / 2**30:.1f} GiB at most"
    return "\n".join(
        [
            f"{pace.variant}, {pace.imgsz} px, batch {pace.batch}, {pace.device}, {pace.threads} threads{memory}",
            f"step        {pace.step_seconds:.3f} s, median of {pace.steps} that lie {pace.step_spread:.3f} s apart",
            f"evaluation  {1000 * pace.image_seconds:.1f} ms for an image and series",
            f"epoch       {pace.epoch_seconds:.1f} s: {pace.train_images} training and {pace.val_images} validation "
            f"images, {pace.series} series",
            f"start       {pace.start_seconds:.1f} s",
        ]
    )
