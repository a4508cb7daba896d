"""A COCO2017-layout root: both annotation files as classes and images with their labels."""

from pathlib import Path

import attrs

from qat_data.annotations import AnnotationFile, check_annotations, decode_annotations
from qat_data.boxes import Label, Reason, TruthBox, to_label, to_truth
from qat_data.errors import DataError
from qat_data.records import Class, Source
from qat_data.sources import SourceData, SourceImage


@attrs.frozen(kw_only=True)
class CocoLayout:
    """Where the files of a COCO root are; relative names are taken from `root`."""

    root: Path
    train_json: str = "annotations/instances_train2017.json"
    train_dir: str = "train2017"
    val_json: str = "annotations/instances_val2017.json"
    val_dir: str = "val2017"


def _read(path: Path) -> AnnotationFile:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; is this a COCO root? (--train-json, --val-json)") from error
    file = decode_annotations(data, str(path))
    check_annotations(file, str(path))
    return file


def _classes(layout: CocoLayout, train: AnnotationFile, val: AnnotationFile) -> tuple[Class, ...]:
    ours, theirs = ({c.id: c.name for c in file.categories} for file in (train, val))
    first, second = layout.root / layout.train_json, layout.root / layout.val_json
    if ours != theirs:
        raise DataError(f"{first} and {second} list different categories: {ours} and {theirs}")
    if not ours:
        raise DataError(f"{first}: no categories")
    return tuple(Class(index=i, name=ours[c], category_id=c) for i, c in enumerate(sorted(ours)))


def _images(file: AnnotationFile, folder: Path, index: dict[int, int], *, truth: bool) -> tuple[SourceImage, ...]:
    """Images of one split. `truth`: keep what an evaluation counts too, which training needs no memory for."""
    by_id = {image.id: image for image in file.images}
    labels: dict[int, list[Label]] = {i: [] for i in by_id}
    dropped: dict[int, list[Reason]] = {i: [] for i in by_id}
    kept: dict[int, list[TruthBox]] = {i: [] for i in by_id}
    for annotation in file.annotations:
        image = by_id[annotation.image_id]
        crowd = bool(annotation.iscrowd)
        if truth and (box := to_truth(annotation.category_id, annotation.bbox, annotation.area, crowd=crowd)):
            kept[image.id].append(box)
        if crowd:
            dropped[image.id].append("crowd")
            continue
        label = to_label(index[annotation.category_id], annotation.bbox, image.width, image.height)
        if isinstance(label, Label):
            labels[image.id].append(label)
        else:
            dropped[image.id].append(label)
    return tuple(
        SourceImage(
            image_id=str(i),
            file_name=by_id[i].file_name,
            path=folder / by_id[i].file_name,
            size=(by_id[i].width, by_id[i].height),
            labels=tuple(labels[i]),
            dropped=tuple(dropped[i]),
            truth=tuple(kept[i]),
        )
        for i in sorted(by_id)
    )


def read_coco(layout: CocoLayout) -> SourceData:
    """Read and check both annotation files.

    Raises:
        DataError: a file is missing or malformed, an id is repeated, an annotation names no image or no category, a
            file name leaves its folder, or the two files list different categories.
    """
    root = layout.root
    train, val = (_read(root / name) for name in (layout.train_json, layout.val_json))
    classes = _classes(layout, train, val)
    index = {c.category_id: c.index for c in classes if c.category_id is not None}
    return SourceData(
        root=str(root),
        source=Source(
            format="coco",
            train_json=layout.train_json,
            train_dir=layout.train_dir,
            val_json=layout.val_json,
            val_dir=layout.val_dir,
        ),
        folders=(root, root / layout.train_dir, root / layout.val_dir),
        classes=classes,
        train=_images(train, root / layout.train_dir, index, truth=False),
        val=_images(val, root / layout.val_dir, index, truth=True),
    )
