"""A COCO2017-layout root: annotation files read with typed structs, checked before anything is made of them.

Evaluators return an average precision for repeated ids, orphan annotations and NaN boxes, so they are found here.
"""

import codecs
import json
import re
from pathlib import Path

import attrs
import msgspec

from qat_data.boxes import Label, Reason, to_label
from qat_data.errors import DataError
from qat_data.records import Class, Source
from qat_data.sources import SourceData, SourceImage, check_file_name, refuse_repeated


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int
    height: int


class _Annotation(msgspec.Struct):
    """`segmentation` is left out on purpose: skipping it makes train2017 cheap to read."""

    image_id: int
    category_id: int
    bbox: list[float]
    id: int | None = None
    iscrowd: int = 0


class _Category(msgspec.Struct):
    id: int
    name: str


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


@attrs.frozen(kw_only=True)
class CocoLayout:
    """Where the files of a COCO root are; relative names are taken from `root`."""

    root: Path
    train_json: str = "annotations/instances_train2017.json"
    train_dir: str = "train2017"
    val_json: str = "annotations/instances_val2017.json"
    val_dir: str = "val2017"


def _decode(path: Path) -> _File:
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)  # some editors write it; it is no JSON
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; is this a COCO root? (--train-json, --val-json)") from error
    try:
        return msgspec.json.decode(data, type=_File)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: {error}") from error
    except msgspec.DecodeError as error:
        # Exporters write NaN, which is no JSON; the standard library reads it, and the box is then counted as dropped.
        if not re.search(rb"\b(NaN|Infinity)\b", data):
            raise DataError(f"{path}: {error}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: {error}; plain JSON in UTF-8 is needed") from error
    try:
        return msgspec.convert(json.loads(data), _File)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {error}") from error


def _classes(files: dict[str, _File]) -> tuple[Class, ...]:
    found: dict[str, dict[int, str]] = {}
    for where, file in files.items():
        refuse_repeated([str(c.id) for c in file.categories], "category id", where)
        refuse_repeated([c.name for c in file.categories], "category name", where)
        found[where] = {c.id: c.name for c in file.categories}
    (first, ours), (second, theirs) = found.items()
    if ours != theirs:
        raise DataError(f"{first} and {second} list different categories: {ours} and {theirs}")
    if not ours:
        raise DataError(f"{first}: no categories")
    return tuple(Class(index=i, name=ours[c], category_id=c) for i, c in enumerate(sorted(ours)))


def _images(where: str, file: _File, folder: Path, index: dict[int, int]) -> tuple[SourceImage, ...]:
    refuse_repeated([str(i.id) for i in file.images], "image id", where)
    refuse_repeated([i.file_name for i in file.images], "file_name", where)
    refuse_repeated([str(a.id) for a in file.annotations if a.id is not None], "annotation id", where)
    by_id = {image.id: image for image in file.images}
    labels: dict[int, list[Label]] = {i: [] for i in by_id}
    dropped: dict[int, list[Reason]] = {i: [] for i in by_id}
    for image in file.images:
        check_file_name(image.file_name, where)
        if image.width < 1 or image.height < 1:
            raise DataError(f"{where}: image {image.id}: width {image.width}, height {image.height}")
    for annotation in file.annotations:
        name = f"{where}: annotation {annotation.id}"
        if annotation.image_id not in by_id:
            raise DataError(f"{name}: image_id {annotation.image_id} is not among the images")
        if annotation.category_id not in index:
            raise DataError(f"{name}: category_id {annotation.category_id} is not among the categories")
        if len(annotation.bbox) != 4:
            raise DataError(f"{name}: bbox must hold 4 numbers, found {len(annotation.bbox)}")
        image = by_id[annotation.image_id]
        if annotation.iscrowd:
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
    paths = {split: str(root / name) for split, name in (("train", layout.train_json), ("val", layout.val_json))}
    files = {split: _decode(Path(path)) for split, path in paths.items()}
    classes = _classes({paths[split]: file for split, file in files.items()})
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
        train=_images(paths["train"], files["train"], root / layout.train_dir, index),
        val=_images(paths["val"], files["val"], root / layout.val_dir, index),
    )
