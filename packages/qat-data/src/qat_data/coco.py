"""A COCO2017-layout root: both annotation files as classes and images with their labels."""

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from msgspec.structs import astuple

from qat_data.annotations import (
    AnnotationEntry,
    AnnotationFile,
    ImageEntry,
    check_annotations,
    decode_annotations,
)
from qat_data.boxes import Label, Reason, TruthBox, to_label, to_truth
from qat_data.errors import DataError
from qat_data.records import Class, Source
from qat_data.sources import Images, SourceData, SourceImage


@attrs.frozen(kw_only=True)
class CocoLayout:
    """Where the files of a COCO root are; relative names are taken from `root`."""

    root: Path
    train_json: str = "annotations/instances_train2017.json"
    train_dir: str = "train2017"
    val_json: str = "annotations/instances_val2017.json"
    val_dir: str = "val2017"


_OTHER_NAMES = (
    "is this a COCO root? Other names: --train-json, --val-json (in a ladder, data.train_json and data.val_json)"
)


def _read(path: Path) -> AnnotationFile:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {_OTHER_NAMES}") from error
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


def _image(
    entry: ImageEntry, annotations: Iterable[AnnotationEntry], folder: Path, index: dict[int, int], *, truth: bool
) -> SourceImage:
    """One image with its labels. `truth`: keep what an evaluation counts too, which training needs no memory for."""
    labels: list[Label] = []
    dropped: list[Reason] = []
    kept: list[TruthBox] = []
    flat = 0
    for annotation in annotations:
        crowd, box = bool(annotation.iscrowd), astuple(annotation.bbox)
        if truth and (counted := to_truth(annotation.category_id, box, annotation.area, crowd=crowd)):
            kept.append(counted)
        if crowd:
            dropped.append("crowd")
            continue
        label = to_label(index[annotation.category_id], box, entry.width, entry.height)
        if isinstance(label, Label):
            labels.append(label)
            flat += annotation.area == 0
        else:
            dropped.append(label)
    return SourceImage(
        image_id=str(entry.id),
        file_name=entry.file_name,
        path=folder / entry.file_name,
        size=(entry.width, entry.height),
        labels=tuple(labels),
        dropped=tuple(dropped),
        truth=tuple(kept),
        flat=flat,
    )


def _images(file: AnnotationFile, folder: Path, index: dict[int, int], *, truth: bool) -> Images:
    """Images of one split in the order of their ids."""
    entries = sorted(file.images, key=lambda image: image.id)
    found: dict[int, list[AnnotationEntry]] = {entry.id: [] for entry in entries}
    for annotation in file.annotations:
        found[annotation.image_id].append(annotation)

    def make(place: int) -> SourceImage:
        entry = entries[place]
        return _image(entry, found[entry.id], folder, index, truth=truth)

    return Images([(str(entry.id), entry.file_name) for entry in entries], make)


def read_coco(layout: CocoLayout) -> SourceData:
    """Read and check both annotation files.

    Raises:
        DataError: a file is missing or malformed, an id is repeated, an annotation names no image or no category, a
            file name leaves its folder, or the two files list different categories.
    """
    with _uncollected():
        return _read_both(layout)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would walk through a million records of a file again and again.

    They hold no cycle, and whatever else is made meanwhile is found by the next collection.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _read_both(layout: CocoLayout) -> SourceData:
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
