"""pictures.jpg of an export: the first validation images with objects, FP32 left, INT4 right, as anyone can judge them.

Which images is a rule and no choice: of those with an object, the first in the order of dataset.json.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from ultralytics.utils import ops
from ultralytics.utils.patches import imread

import qat_artifacts
from qat_train.errors import InputError
from qat_train.evaluator import square_loader
from qat_train.export.detections import CPU, ImageDetections
from qat_train.export.drawing import GAP, Half, draw_row, heading, jpeg, stack
from qat_train.export.matching import FoundObject, found_objects, pair_objects
from qat_train.export.network import About
from qat_train.export.record import Pictures
from qat_train.randomness import preserved_rng

MOST = 4  # images
CONFIDENCE = 0.25  # what a prediction shows unless it is told otherwise
WIDTH, HEIGHT = (1200 - GAP) // 2, 400  # of a half at most, in pixels
LIMIT = 120_000  # bytes: small enough to be embedded in a page


@torch.no_grad()
def write_pictures(
    path: Path,
    model: Any,
    images: Sequence[ImageDetections],
    *,
    order: Sequence[str],
    about: About,
    data_yaml: Path,
) -> Pictures:
    """Run the floating-point model on the chosen images, draw both sides, write the file; return what is in it.

    Args:
        path: where the file goes.
        model: as `comparable_model` gives it, on the CPU.
        images: what the exported file found in all validation images.
        order: names of the validation images in the order of dataset.json.
        about: the exported network.
        data_yaml: of the prepared data set.

    Returns:
        The record; the same objects give the same bytes under one version of Pillow.

    Raises:
        InputError: no validation image has an object, or one cannot be read.
    """
    _, _, loader = square_loader(data_yaml, "val", imgsz=about.imgsz, batch=1, device=CPU)
    dataset = loader.dataset
    places = {Path(label["im_file"]).name: i for i, label in enumerate(dataset.labels)}
    chosen = [name for name in order if len(dataset.labels[places[name]]["cls"])][:MOST]
    if not chosen:
        raise InputError(f"{data_yaml}: no validation image has an object")
    found: Mapping[str, ImageDetections] = {image.name: image for image in images}
    rows, counts = [], []
    for name in chosen:
        with preserved_rng():
            letterboxed = dataset[places[name]]["img"][None].float() / 255
        pixels = imread(file := dataset.labels[places[name]]["im_file"])
        if pixels is None:
            raise InputError(f"{file}: the image cannot be read")
        sides = [_kept(side, found[name], about) for side in (model(letterboxed)[0][0], found[name].onnx)]
        pairing = pair_objects(*sides)
        halves = [
            Half(title=heading(title, len(objects), CONFIDENCE, len(alone)), objects=objects, alone=alone)
            for title, objects, alone in zip(
                ("FP32", f"INT4, {about.method}"), sides, (pairing.only_fp32, pairing.only_int4), strict=True
            )
        ]
        rows.append(draw_row(pixels, halves, about.names, width=WIDTH, height=HEIGHT))
        counts.append([len(objects) for objects in sides])
    qat_artifacts.write_bytes(path, jpeg(stack(rows), limit=LIMIT))
    fp32, int4 = zip(*counts, strict=True)
    return Pictures(file=path.name, images=tuple(chosen), confidence=CONFIDENCE, fp32=fp32, int4=int4)


def _kept(rows: Tensor, image: ImageDetections, about: About) -> tuple[FoundObject, ...]:
    """Objects above the confidence, in pixels of the image as it lies on the disk."""
    rows = rows[rows[:, 4] > CONFIDENCE].clone()
    ops.scale_boxes((about.imgsz, about.imgsz), rows[:, :4], image.shape, ratio_pad=image.ratio_pad)
    return found_objects(rows, about.names)
