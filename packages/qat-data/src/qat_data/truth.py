"""What detections are compared with: the val split as a COCO annotation file that lies in the prepared folder.

Labels cannot serve: they know no crowds and no boxes without area, and are clipped. The source cannot either: it may be
gone, changed, or hold more images than were chosen.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from msgspec.structs import astuple

import qat_artifacts
from qat_data.annotations import check_annotations, decode_annotations
from qat_data.boxes import TruthBox, to_truth
from qat_data.errors import DataError
from qat_data.evaluation import PreparedSet
from qat_data.images import CheckedImage
from qat_data.records import Annotations, Dataset
from qat_data.sources import SourceData


@attrs.frozen(kw_only=True)
class GroundTruth:
    """Objects by image id, as a COCO annotation file holds them.

    `files` are what it was read from, the annotation file last. `dataset` is null where no prepared data set was read.
    `categories` are names by id, in the order of their ids. `unusable` boxes have no overlap with others and are not
    counted (`box_fault` says which).
    """

    files: tuple[Path, ...]
    sha256: str
    dataset: PreparedSet | None
    categories: dict[int, str]
    images: dict[int, tuple[TruthBox, ...]]
    unusable: int


def _yolo_boxes(checked: CheckedImage, category_ids: Sequence[int]) -> tuple[TruthBox, ...]:
    """Labels of a YOLO source in pixels."""
    found = []
    for label in checked.image.labels:
        wide, high = label.width * checked.width, label.height * checked.height
        box = (label.x * checked.width - wide / 2, label.y * checked.height - high / 2, wide, high)
        found.append(TruthBox(category_ids[label.index], box, wide * high))
    return tuple(found)


def write_truth(path: Path, data: SourceData, images: Sequence[CheckedImage]) -> Annotations:
    """Write images of the val split and their objects as a COCO annotation file.

    Ids are those of a COCO source. A YOLO source has none: its images are numbered from 1 in their order, and its
    category ids are the class indices plus 1, as Ultralytics writes them into predictions.json.
    """
    ids = [c.index + 1 if c.category_id is None else c.category_id for c in data.classes]
    listed: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number, checked in enumerate(images, 1):
        image = checked.image
        from_yolo = data.source.format == "yolo"
        image_id = number if from_yolo else int(image.image_id)
        size = {"width": checked.width, "height": checked.height}
        listed.append({"id": image_id, "file_name": image.file_name, **size})
        for box in _yolo_boxes(checked, ids) if from_yolo else image.truth:
            objects.append(
                {
                    "id": len(objects) + 1,  # an evaluator takes annotation 0 for "no match"
                    "image_id": image_id,
                    "category_id": box.category_id,
                    "bbox": box.box,
                    "area": box.area,
                    "iscrowd": int(box.crowd),
                }
            )
    content = {
        "info": {"description": "val split, as qat-data prepared it"},
        "images": listed,
        "annotations": objects,
        "categories": [{"id": i, "name": c.name} for i, c in zip(ids, data.classes, strict=True)],
    }
    text = json.dumps(content, allow_nan=False, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    crowds = sum(o["iscrowd"] for o in objects)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Annotations(file=path.name, sha256=sha256, objects=len(objects), crowds=crowds)


def _truth(files: tuple[Path, ...], dataset: Dataset | None) -> GroundTruth:
    path = files[-1]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if dataset and dataset.val_annotations and sha256 != dataset.val_annotations.sha256:
        raise DataError(f"{path}: its content changed since the data set was prepared; prepare it again")
    file = decode_annotations(data, str(path))
    check_annotations(file, str(path))
    images: dict[int, list[TruthBox]] = {image.id: [] for image in file.images}
    unusable = 0
    for entry in file.annotations:
        box = to_truth(entry.category_id, astuple(entry.bbox), entry.area, crowd=bool(entry.iscrowd))
        if box:
            images[entry.image_id].append(box)
        else:
            unusable += 1
    if not any(not box.crowd for boxes in images.values() for box in boxes):
        raise DataError(f"{path}: no boxes in {len(images)} images; average precision would be undefined")
    return GroundTruth(
        files=files,
        sha256=sha256,
        dataset=PreparedSet(name=dataset.name, fingerprint=dataset.fingerprint) if dataset else None,
        categories={c.id: c.name for c in sorted(file.categories, key=lambda c: c.id)},
        images={i: tuple(boxes) for i, boxes in images.items()},
        unusable=unusable,
    )


def read_truth(dataset: Path) -> GroundTruth:
    """The val split of a prepared folder or of its dataset.json; no image is opened, and the source may be gone.

    Raises:
        ArtifactError: no dataset.json, or not one this version reads.
        DataError: the folder was prepared without annotations, or they are missing, changed or malformed.
    """
    file = dataset / "dataset.json" if dataset.is_dir() else dataset
    record = qat_artifacts.read(file, Dataset)
    if record.val_annotations is None:
        raise DataError(
            f"{file}: no val_annotations: the folder was prepared before val.json was kept, or without it; "
            "prepare the data set again: qat-data prepare"
        )
    return _truth((file, file.parent / record.val_annotations.file), record)


def read_annotations(path: Path) -> GroundTruth:
    """All images of a COCO annotation file.

    Raises:
        DataError: missing, malformed, contradictory, or without a box.
    """
    return _truth((path,), None)
