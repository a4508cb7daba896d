"""One evaluator for every number: FP32, PTQ, raw, EMA and corrected weights pass through the same code."""

import contextlib
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
import ultralytics
from torch import Tensor, nn
from ultralytics.cfg import get_cfg
from ultralytics.data import build_dataloader, build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.models.yolo.detect import DetectionValidator

from qat_train.detector import set_head
from qat_train.errors import InputError
from qat_train.insertion import assert_on_grid
from qat_train.isolation import isolated
from qat_train.randomness import preserved_rng
from qat_train.run import Evaluation, EvaluationBlock

CONFIDENCE = 0.001  # Ultralytics' and COCO's convention for mAP: keep almost everything
NMS_IOU = 0.7  # only detectors without a one2one head suppress


def hash_weights(model: nn.Module) -> str:
    """SHA-256 over name, type, shape and bytes of every parameter and buffer."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode for every module, and each module's own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def square_loader(
    data_yaml: Path, split: Literal["train", "val"], *, imgsz: int, batch: int, device: torch.device
) -> tuple[SimpleNamespace, dict[str, Any], Any]:
    """Ultralytics' arguments, data description and loader for images as an evaluation sees them: no augmentation.

    Raises:
        InputError: the data set cannot be read.
    """
    arguments: SimpleNamespace = get_cfg(
        overrides={
            "task": "detect",
            "mode": "val",
            "imgsz": imgsz,
            "batch": batch,
            "data": str(data_yaml),
            "conf": CONFIDENCE,
            "iou": NMS_IOU,
            "nms": False,
            "rect": False,  # square letterbox: what an exported model with a fixed input sees
            "plots": False,
            "save_json": False,
            "workers": 0,
            "split": "val",
            "verbose": False,
        }
    )
    with preserved_rng(), isolated():
        try:
            data = check_det_dataset(str(data_yaml), autodownload=False)
        except Exception as error:
            raise InputError(f"{data_yaml}: {str(error).splitlines()[0]}") from error
        dataset = build_yolo_dataset(arguments, data[split], batch, data, mode="val", rect=False, stride=32)
        loader = build_dataloader(dataset, batch, workers=0, shuffle=False, rank=-1, device=device)
    return arguments, data, loader


def calibration_images(
    data_yaml: Path, *, imgsz: int, batch: int, device: torch.device, images: int
) -> Iterable[Tensor]:
    """The first training images, letterboxed, in batches (B, 3, imgsz, imgsz) in [0, 1], the last one perhaps smaller.

    Args:
        data_yaml: prepared by qat-data.
        imgsz: longer side in pixels, a multiple of 32.
        batch: images at a time.
        device: where they go.
        images: how many; all where there are fewer.
    """
    _, _, loader = square_loader(data_yaml, "train", imgsz=imgsz, batch=batch, device=device)
    seen = 0
    with preserved_rng():
        for found in itertools.islice(loader, -(-images // batch)):
            yield found["img"][: images - seen].to(device).float() / 255
            seen += len(found["img"])


class Evaluator:
    """mAP of a detector on the validation split of a prepared data set.

    The images, their order and the metric code are Ultralytics' (`DetectionValidator`); its `__call__` is not used: it
    evaluates `ema or model`, runs under inference mode (whose tensors cannot be trained on) and rounds to five digits.
    Weights, module modes and every random number generator are the same before and after a call.
    """

    def __init__(
        self,
        data_yaml: Path,
        *,
        imgsz: int,
        batch: int,
        device: torch.device,
        folder: Path,
        guard: Callable[[Any, int], None] = assert_on_grid,
    ) -> None:
        """Build the validation loader.

        Args:
            data_yaml: prepared by qat-data.
            imgsz: longer side in pixels, a multiple of 32.
            batch: images at a time; does not change the result.
            device: where the model will be.
            folder: Ultralytics insists on one.
            guard: raises where a model does not use the given number of quantized weights.

        Raises:
            InputError: the data set cannot be read.
        """
        self.device, self.guard = device, guard
        arguments, self.data, loader = square_loader(data_yaml, "val", imgsz=imgsz, batch=batch, device=device)
        self.images = len(loader.dataset)
        self._validator: Any = DetectionValidator(loader, save_dir=folder, args=arguments, _callbacks={})
        DetectionValidator._check_max_det(self._validator.args, {"val": loader.dataset})
        self._validator.device = device
        self._validator.data = self.data
        self._validator.training = True  # preprocessing as in training: no second copy in half precision

    def describe(self, head: str) -> EvaluationBlock:
        """The block of run.json."""
        arguments: SimpleNamespace = self._validator.args
        return EvaluationBlock(
            evaluator=f"ultralytics {ultralytics.__version__}, square letterbox",
            head="one2one" if head == "one2one" else "one2many",
            split="val",
            conf=CONFIDENCE,
            iou=NMS_IOU,
            max_det=int(arguments.max_det),
            precision="fp32",
        )

    def __call__(self, model: Any, *, quantized_layers: int) -> Evaluation:
        """Evaluate the weights of `model` as they are, in fp32, on the one2one head where there is one.

        Args:
            model: a DetectionModel on `device`.
            quantized_layers: how many weight quantizers must be active.

        Raises:
            OffGrid: the quantizers do not do what the policy says.
        """
        started = time.monotonic()
        self.guard(model, quantized_layers)
        set_head(model)
        results = self._metrics(model, self._validator.dataloader)
        box = self._validator.metrics.box
        names = self.data["names"]
        per_class = {str(names[int(c)]): float(ap) for c, ap in zip(box.ap_class_index, box.ap, strict=True)}
        return Evaluation(
            map50_95=float(results["metrics/mAP50-95(B)"]),
            map50=float(results["metrics/mAP50(B)"]),
            precision=float(results["metrics/precision(B)"]),
            recall=float(results["metrics/recall(B)"]),
            per_class=per_class,
            weights_sha256=hash_weights(model),
            seconds=time.monotonic() - started,
        )

    def seconds_per_image(self, model: Any, *, images: int) -> float:
        """What one image of an evaluation costs, metrics included, by the first `images` images or a few more.

        The loader works batch by batch, and an evaluation with fewer batches than two says little: the first one pays
        for what later ones find warm.
        """
        set_head(model)
        loader = self._validator.dataloader
        started = time.monotonic()
        self._metrics(model, itertools.islice(loader, -(-images // loader.batch_size)))
        seconds = time.monotonic() - started
        loader.reset()  # Ultralytics' loader would go on where this one stopped
        seen: int = self._validator.seen
        return seconds / seen

    def _metrics(self, model: Any, batches: Iterable[Any]) -> dict[str, float]:
        validator = self._validator
        with preserved_rng(), evaluation_mode(model), torch.no_grad():
            validator.init_metrics(model)
            for batch in batches:
                prepared = validator.preprocess(batch)
                validator.update_metrics(validator.postprocess(model(prepared["img"])), prepared)
            found: dict[str, float] = validator.get_stats()
        return found
