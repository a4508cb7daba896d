"""Detections as COCO results, which `qat-data evaluate` and every other COCO evaluator read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
from ultralytics.utils import ops

import qat_artifacts
from qat_train.dataset import PreparedData
from qat_train.errors import InputError
from qat_train.evaluator import CONFIDENCE
from qat_train.export.detections import ImageDetections, Side


@attrs.frozen(kw_only=True)
class SourceView:
    """What the data set was made from."""

    format: Literal["coco", "yolo"]


@attrs.frozen(kw_only=True)
class CategoryView:
    """One class."""

    index: int
    category_id: int | None = None


@attrs.frozen(kw_only=True)
class FileView:
    """One image; the id is text."""

    image_id: str


@attrs.frozen(kw_only=True)
class FilesView:
    """Images of a split, in the order of the list that data.yaml names."""

    files: tuple[FileView, ...]


@attrs.frozen(kw_only=True)
class IdentifiersView:
    """Ids in qat-data/dataset 1.x."""

    SCHEMA: ClassVar[str] = "qat-data/dataset"
    VERSION: ClassVar[str] = "1.0"

    source: SourceView
    classes: tuple[CategoryView, ...]
    val: FilesView


@attrs.frozen(kw_only=True)
class Identifiers:
    """Ids of images by their name in the prepared folder, of categories by class index."""

    images: Mapping[str, int]
    categories: tuple[int, ...]


def read_identifiers(data: PreparedData) -> Identifiers:
    """The ids that detections of the val split are written with: those of the COCO file it was prepared from.

    A YOLO source has none; as in the val.json that qat-data writes for it, its images count from 1 in their order and
    its categories are class indices plus 1.

    Raises:
        InputError: the list of validation images is gone, or not that of dataset.json.
    """
    view = qat_artifacts.read_view(data.path, IdentifiersView)
    listing = data.path.parent / "val.txt"
    try:
        names = [Path(line).name for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{listing}: {error.strerror}; prepare the data set again: qat-data prepare") from error
    if len(names) != len(view.val.files):
        raise InputError(f"{listing}: {len(names)} images, dataset.json lists {len(view.val.files)}")
    ids = range(1, len(names) + 1) if view.source.format == "yolo" else [int(f.image_id) for f in view.val.files]
    return Identifiers(
        images=dict(zip(names, ids, strict=True)),
        categories=tuple(
            c.index + 1 if c.category_id is None else c.category_id for c in sorted(view.classes, key=lambda c: c.index)
        ),
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
