"""Detections as COCO results, which `qat-data evaluate` and every other COCO evaluator read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
from ultralytics.utils import ops

import qat_artifacts
from qat_train.dataset import PreparedData
from qat_train.errors import InputError
from qat_train.evaluator import CONFIDENCE
from qat_train.export.detections import ImageDetections, Side


@attrs.frozen(kw_only=True)
class AnnotationsView:
    """Where the val split lies as a COCO annotation file."""

    file: str


@attrs.frozen(kw_only=True)
class TruthView:
    """Of qat-data/dataset 1.x: what its detections are compared with."""

    SCHEMA: ClassVar[str] = "qat-data/dataset"
    VERSION: ClassVar[str] = "1.0"

    val_annotations: AnnotationsView | None = None


@attrs.frozen(kw_only=True)
class Named:
    """An id with a name, of a category."""

    id: int
    name: str


@attrs.frozen(kw_only=True)
class Image:
    """An image of the annotation file."""

    id: int


@attrs.frozen(kw_only=True)
class CocoFile:
    """What is read of the annotation file; its images are in the order of the list that data.yaml names."""

    images: tuple[Image, ...]
    categories: tuple[Named, ...]


@attrs.frozen(kw_only=True)
class Identifiers:
    """Original ids: of images by their name in the prepared folder, of categories by class index."""

    images: Mapping[str, int]
    categories: tuple[int, ...]


def read_identifiers(data: PreparedData) -> Identifiers:
    """The ids that detections of the val split are written with.

    Raises:
        InputError: the folder holds no annotations, or others than its list of images and its classes.
    """
    view = qat_artifacts.read_view(data.path, TruthView)
    if view.val_annotations is None:
        raise InputError(f"{data.path}: no val_annotations; prepare the data set again: qat-data prepare")
    listing, truth = data.path.parent / "val.txt", data.path.parent / view.val_annotations.file
    try:
        names = [Path(line).name for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
        content = qat_artifacts.structure(
            qat_artifacts.loads(truth.read_bytes()), CocoFile, source=str(truth), strict=False
        )
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; prepare the data set again: qat-data prepare") from error
    except ValueError as error:
        raise InputError(f"{truth}: not valid JSON: {error}") from error
    by_name = {category.name: category.id for category in content.categories}
    if len(names) != len(content.images) or sorted(by_name) != sorted(data.names):
        raise InputError(
            f"{truth}: {len(content.images)} images and {len(by_name)} categories, the data set has {len(names)} and "
            f"{len(data.names)}, or others; prepare it again: qat-data prepare"
        )
    return Identifiers(
        images={name: image.id for name, image in zip(names, content.images, strict=True)},
        categories=tuple(by_name[name] for name in data.names),
    )


def coco_results(
    images: Sequence[ImageDetections], side: Side, identifiers: Identifiers, *, imgsz: int
) -> list[dict[str, Any]]:
    """Detections above the evaluator's confidence; boxes (left, top, width, height) in pixels of the original image.

    Args:
        images: what was detected.
        side: whose detections.
        identifiers: of their data set.
        imgsz: side of the letterbox.
    """
    results = []
    for image in images:
        rows = image.rows(side)
        rows = rows[rows[:, 4] > CONFIDENCE]
        boxes = ops.scale_boxes((imgsz, imgsz), rows[:, :4].clone(), image.shape, ratio_pad=image.ratio_pad)
        boxes[:, 2:] -= boxes[:, :2]
        results += [
            {
                "image_id": identifiers.images[image.name],
                "category_id": identifiers.categories[int(row[5])],
                "bbox": box,
                "score": row[4],
            }
            for box, row in zip(boxes.tolist(), rows.tolist(), strict=True)
        ]
    return results
