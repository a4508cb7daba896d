"""Detections of single images by an exported model, through Ultralytics' own predictor, as a user would call it."""

from collections.abc import Sequence
from pathlib import Path

import attrs
from ultralytics import YOLO

from qat_train.errors import InputError


@attrs.frozen(kw_only=True)
class FoundObject:
    """One object: `box` is (left, top, right, bottom) in pixels of the image, `score` in [0, 1]."""

    name: str
    score: float
    box: tuple[float, ...]


@attrs.frozen(kw_only=True)
class Prediction:
    """What was found in one image; `drawn` is the image with boxes, where one was asked for."""

    image: str
    objects: tuple[FoundObject, ...]
    drawn: str | None


def predict(model: Path, images: Sequence[Path], *, confidence: float, out: Path | None) -> tuple[Prediction, ...]:
    """Detect objects.

    Args:
        model: model.onnx of an export.
        images: files.
        confidence: lowest score, in [0, 1].
        out: folder for images with boxes; none are drawn without.

    Raises:
        InputError: the model or an image is missing or cannot be read.
    """
    for path in (model, *images):
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    detector = YOLO(str(model), task="detect")
    found = []
    for image in images:
        try:
            (result,) = detector.predict(str(image), conf=confidence, device="cpu", save=False, verbose=False)
        except Exception as error:  # Ultralytics and ONNX Runtime have no common class for what they cannot read
            raise InputError(f"{model} on {image}: {str(error).splitlines()[0]}") from error
        objects = tuple(
            FoundObject(name=result.names[int(c)], score=float(s), box=tuple(box))
            for box, s, c in zip(result.boxes.xyxy.tolist(), result.boxes.conf, result.boxes.cls, strict=True)
        )
        drawn = None
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            drawn = str(out / image.name)
            result.save(filename=drawn)
        found.append(Prediction(image=str(image), objects=objects, drawn=drawn))
    return tuple(found)


def describe(predictions: Sequence[Prediction]) -> str:
    """A line for each object."""
    lines = []
    for prediction in predictions:
        lines.append(f"{prediction.drawn or prediction.image}: {len(prediction.objects)} objects")
        for found in prediction.objects:
            left, top, right, bottom = (round(side) for side in found.box)
            lines.append(f"  {found.name} {found.score:.2f} at {left}, {top} to {right}, {bottom}")
    return "\n".join(lines)
