"""Detections of the validation images by torch and by ONNX Runtime, compared and scored."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import onnx
import torch
from torch import Tensor, nn

from qat_train.detector import set_head
from qat_train.evaluator import Evaluator, evaluation_mode, square_loader
from qat_train.export.deployed import kept_before_selection
from qat_train.export.network import About
from qat_train.export.parity import compare_batch, merge, reselected, with_raw_output
from qat_train.export.record import Agreement
from qat_train.export.runtime import open_session
from qat_train.insertion import assert_on_grid
from qat_train.randomness import preserved_rng
from qat_train.run import Evaluation

logger = logging.getLogger(__name__)
BATCH = 8  # images at a time
REPORTED = 500  # images between two lines of progress
CPU = torch.device("cpu")
Side = Literal["torch", "onnx"]


@attrs.frozen(kw_only=True, eq=False)
class ImageDetections:
    """What was found in one image: rows of (x1, y1, x2, y2, score, class), (detections, 6), in letterbox pixels.

    `shape` is (height, width) of the image as it lies on the disk, `ratio_pad` how it was letterboxed.
    """

    name: str
    shape: tuple[int, int]
    ratio_pad: Any
    torch: Tensor
    onnx: Tensor

    def rows(self, side: Side) -> Tensor:
        """Those of one side."""
        return self.torch if side == "torch" else self.onnx


def detect_with_both(
    model: Any,
    graph: onnx.ModelProto,
    data_yaml: Path,
    *,
    imgsz: int,
    max_det: int,
    quantized_layers: int,
    threads: int,
) -> tuple[Agreement, tuple[ImageDetections, ...]]:
    """Run the fake-quantized model and the graph on every validation image, on the CPU, and compare.

    Args:
        model: the trained detector with its quantizers, on the CPU.
        graph: the exported one.
        data_yaml: of the prepared data set.
        imgsz: side of the square letterbox.
        max_det: most detections of an image.
        quantized_layers: how many weight quantizers must be active.
        threads: of ONNX Runtime.

    Raises:
        OffGrid: the quantizers do not do what the policy says.
        InputError: the data set cannot be read, or ONNX Runtime refuses the graph.
    """
    assert_on_grid(model, quantized_layers)
    set_head(model)
    head = model.model[-1]
    head.max_det = max_det
    session = open_session(with_raw_output(graph, head.nc).SerializeToString(), threads=threads)
    _, _, loader = square_loader(data_yaml, "val", imgsz=imgsz, batch=BATCH, device=CPU)
    parts, images = [], []
    with preserved_rng(), evaluation_mode(model), torch.no_grad(), kept_before_selection(head) as kept:
        for batch in loader:
            letterboxed = batch["img"].float() / 255
            rows = model(letterboxed)[0]
            raw = kept.pop()
            found_rows, found_raw = session.run(None, {"images": letterboxed.numpy()})
            expected = head.postprocess(torch.from_numpy(found_raw))
            kept.clear()
            others = sum(reselected(ours, theirs.numpy()) for ours, theirs in zip(found_rows, expected, strict=True))
            parts.append(attrs.evolve(compare_batch(raw.numpy(), found_raw), reselected=others))
            images += [
                ImageDetections(
                    name=Path(name).name,
                    shape=(int(shape[0]), int(shape[1])),
                    ratio_pad=ratio_pad,
                    torch=rows[i],
                    onnx=torch.from_numpy(found_rows[i]),
                )
                for i, (name, shape, ratio_pad) in enumerate(
                    zip(batch["im_file"], batch["ori_shape"], batch["ratio_pad"], strict=True)
                )
            ]
            if len(images) // REPORTED > (len(images) - len(letterboxed)) // REPORTED:
                logger.info("%d of %d images compared", len(images), len(loader.dataset))
    return merge(parts), tuple(images)


class Replay(nn.Module):
    """Stored detections as a model: what `Evaluator` asks for, it hands out in the order of the images."""

    end2end = True  # rows are a final selection, not to be suppressed further

    def __init__(self, names: Sequence[str], rows: Sequence[Tensor]) -> None:
        super().__init__()
        self.names = dict(enumerate(names))
        self.model = [self]  # where a detector has its head
        self._waiting = iter(rows)

    def forward(self, images: Tensor) -> Tensor:
        """Rows of as many images, (batch, detections, 6)."""
        return torch.stack([next(self._waiting) for _ in images])


def score(images: Sequence[ImageDetections], side: Side, about: About, data_yaml: Path, *, sha256: str) -> Evaluation:
    """Measure detections with the evaluator of every other number; `sha256` says whose they are."""
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator(data_yaml, imgsz=about.imgsz, batch=BATCH, device=CPU, folder=Path(folder))
        found = evaluator(Replay(about.names, [image.rows(side) for image in images]), quantized_layers=0)
    return attrs.evolve(found, weights_sha256=sha256)
