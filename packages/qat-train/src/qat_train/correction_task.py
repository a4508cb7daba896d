"""A finished run as qat-qc sees it: model, layers, batches, loss, evaluation, scales.

Registered under the entry point group `qat_qc.tasks`; qat-qc finds it there, neither package imports the other.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor, nn

import qat_artifacts
from qat_train import ranks
from qat_train.environment import prepare_environment, quiet_stdout
from qat_train.errors import InputError
from qat_train.run import Run


@attrs.frozen(kw_only=True)
class CorrectionLayer:
    """A quantized convolution, and the batch norm that reads its output."""

    name: str
    batch_norm: str | None


class CorrectionTask:
    """One series of one completed run, ready for Quantization Correction."""

    name = "qat-train"

    def __init__(self, run_dir: Path, weights: str, device: str | None) -> None:
        """Load the final weights of a series.

        Args:
            run_dir: folder of a completed `qat-train run`.
            weights: "raw" or "ema".
            device: "cpu", "auto" or a CUDA index; None takes the run's own.

        Raises:
            InputError: the run is not completed, or has no checkpoint or series of that name.
        """
        run = qat_artifacts.read(run_dir / "run.json", Run)
        if run.status != "completed" or run.files.checkpoint is None:
            state = run.status if run.error is None else f"{run.status}, {run.error}"
            raise InputError(f"{run_dir}: a completed run with a checkpoint is needed, this one is: {state}")
        threads = prepare_environment(run.training.threads)
        with quiet_stdout():
            from qat_train.checkpoint import load_checkpoint
            from qat_train.environment import use_threads
            from qat_train.evaluator import Evaluator
            from qat_train.preparation import choose_device
            from qat_train.weight_pass import WeightPass

            self._device = choose_device(device or ranks.first_of(run.training.device))
            model, self._checkpoint = load_checkpoint(run_dir / run.files.checkpoint, weights)
            self.model: Any = model.to(self._device)
            self._data_yaml = Path(run.dataset.dataset_yaml)
            self._evaluator = Evaluator(
                self._data_yaml,
                imgsz=run.model.imgsz,
                batch=2 * run.training.batch,
                device=self._device,
                folder=run_dir / "ultralytics",
            )
            use_threads(threads)
            WeightPass(self.model)
        self._run, self._folder = run, run_dir
        self.run_id = run.run_id
        self.images = run.dataset.train_images

    def layers(self) -> tuple[CorrectionLayer, ...]:
        """Every quantized convolution. Ultralytics' Conv holds its batch norm as the sibling `bn`."""
        from qat_train.insertion import active_quantizers

        modules = dict(self.model.named_modules())
        found = []
        for name, _, _ in active_quantizers(self.model):
            parent, _, leaf = name.rpartition(".")
            sibling = f"{parent}.bn"
            has_norm = leaf == "conv" and isinstance(modules.get(sibling), nn.BatchNorm2d)
            found.append(CorrectionLayer(name=name, batch_norm=sibling if has_norm else None))
        return tuple(found)

    def batches(self, seed: int) -> Iterator[tuple[dict[str, Any], list[str]]]:
        """(batch, image paths): every training image once, letterboxed without augmentation, shuffled by `seed`.

        Images are fp32 in [0, 1], shape (B, 3, imgsz, imgsz), on the device.
        """
        yield from self._visit("val", seed, {"task": "detect", "imgsz": self._run.model.imgsz})

    def training_batches(self, seed: int) -> Iterator[tuple[dict[str, Any], list[str]]]:
        """As `batches`, under the augmentation of the run's last epochs, drawn by `seed`.

        Batch norms re-estimated from letterboxed images would meet a distribution that no weight was trained under.

        Raises:
            InputError: the run has lost Ultralytics' record of its arguments.
        """
        from ultralytics.utils import YAML

        path = self._folder / self._run.files.ultralytics / "args.yaml"
        if not path.is_file():
            raise InputError(f"{path} is missing: it says how the training augmented its images")
        arguments: dict[str, Any] = YAML.load(path)
        yield from self._visit("train", seed, arguments | ({"mosaic": 0.0} if arguments["close_mosaic"] else {}))

    def _visit(self, mode: str, seed: int, arguments: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[str]]]:
        from ultralytics.cfg import get_cfg
        from ultralytics.data import build_dataloader, build_yolo_dataset

        from qat_train.isolation import isolated
        from qat_train.randomness import preserved_rng, seed_everything

        config = get_cfg(overrides=arguments | {"rect": False, "data": str(self._data_yaml)})
        size = self._run.training.effective_batch
        with preserved_rng():
            data = self._evaluator.data
            with isolated():
                dataset = build_yolo_dataset(config, data["train"], size, data, mode=mode, rect=False, stride=32)
            loader = build_dataloader(dataset, size, workers=0, shuffle=True, rank=-1, device=self._device)
            loader.generator.manual_seed(seed)
            seed_everything(seed)  # augmentation draws from the global generators
            for batch in loader:
                moved = {k: v.to(self._device) if isinstance(v, Tensor) else v for k, v in batch.items()}
                moved["img"] = moved["img"].float() / 255
                yield moved, [str(path) for path in batch["im_file"]]

    def forward(self, batch: dict[str, Any]) -> object:
        """Predictions for a batch, in the modes that the model is in; both heads run, with every batch norm."""
        return self.model(batch["img"])

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """The task's loss, mean over the batch, a scalar.

        The dual head's two losses keep the weights of the last training epoch: Ultralytics moves them with
        epoch / epochs, which in a run of one epoch would be another task.
        """
        model = self.model
        model.train()
        if getattr(model, "criterion", None) is None:
            model.criterion = model.init_criterion()
        criterion = model.criterion
        if hasattr(criterion, "final_o2m"):
            criterion.o2m = criterion.final_o2m
            criterion.o2o = criterion.total - criterion.o2m
        total, _ = model(batch)  # called, not its `loss`: the call quantizes all weights at once
        mean: Tensor = total.sum() / batch["img"].shape[0]
        return mean

    def evaluate(self) -> dict[str, Any]:
        """Evaluation point of the model as it stands, by the evaluator of the run."""
        with quiet_stdout():
            point = self._evaluator(self.model, quantized_layers=self._run.quantization.quantized_layers)
        body: dict[str, Any] = qat_artifacts.unstructure(point)
        return body

    def _layer(self, name: str) -> tuple[Any, Any]:
        conv = self.model.get_submodule(name)
        return conv, conv.weight_quantizer

    def is_per_channel(self, name: str) -> bool:
        """Whether the layer has one scale per output channel."""
        return self._layer(name)[1].axis is not None

    def get_scale(self, name: str) -> Tensor:
        """Scale of a layer, shape (C, 1, 1, 1), or () per tensor."""
        from qat_train.insertion import layer_scale

        return layer_scale(self._layer(name)[1]).detach().clone()

    def set_scale(self, name: str, scale: Tensor) -> None:
        """Replace a layer's scale; read it back with `get_scale`, the last bit may differ."""
        from qat_train.insertion import set_layer_scale

        set_layer_scale(self._layer(name)[1], scale)

    def codes(self, name: str) -> Tensor:
        """Integer codes of a layer's weight, int8."""
        from qat_train.insertion import layer_codes

        return layer_codes(*self._layer(name))

    def save(self, out: Path) -> Path:
        """Write the model as it stands as a corrected checkpoint; returns the path of checkpoint.json."""
        from qat_train.checkpoint import save_checkpoint
        from qat_train.evaluator import hash_weights
        from qat_train.insertion import assert_on_grid

        assert_on_grid(self.model, self._run.quantization.quantized_layers)
        series = "corrected"
        record = attrs.evolve(self._checkpoint, kind="corrected", weights_sha256={series: hash_weights(self.model)})
        return save_checkpoint(out, record, {series: self.model.state_dict()})


def load(run_dir: Path, weights: str, device: str | None = None) -> CorrectionTask:
    """Entry point `qat_qc.tasks`: see `CorrectionTask`."""
    return CorrectionTask(run_dir, weights, device)
