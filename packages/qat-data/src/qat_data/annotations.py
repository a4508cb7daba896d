"""COCO annotation files: decoded into typed structs, then checked for what evaluators do not notice.

Evaluators return an average precision for repeated ids, orphan annotations and NaN boxes, so they are found here.
"""

import codecs
import json
import re

import msgspec

from qat_data.errors import DataError
from qat_data.sources import check_file_name, refuse_repeated

_LARGEST = 2**31 - 1  # pixels of a side that any image format can state; more is no number that a float can hold


class ImageEntry(msgspec.Struct, gc=False):
    """One entry of `images`; width and height in pixels."""

    id: int
    file_name: str
    width: int
    height: int


class Box(msgspec.Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """Four numbers in a JSON list: left, top, width and height in pixels.

    No list: a million of those is what the garbage collector would walk through again and again.
    """

    left: float
    top: float
    width: float
    height: float


class AnnotationEntry(msgspec.Struct, gc=False):
    """One entry of `annotations`; area in square pixels.

    `segmentation` is left out on purpose: skipping it makes train2017 cheap to read.
    """

    image_id: int
    category_id: int
    bbox: Box
    id: int | None = None
    iscrowd: int = 0
    area: float | None = None


class CategoryEntry(msgspec.Struct):
    """One entry of `categories`."""

    id: int
    name: str


class AnnotationFile(msgspec.Struct):
    """What is read of an annotation file; every other key is passed over."""

    images: list[ImageEntry]
    annotations: list[AnnotationEntry]
    categories: list[CategoryEntry]


def decode_annotations(data: bytes, where: str) -> AnnotationFile:
    """An annotation file from its bytes; `where` names it in error texts.

    Raises:
        DataError: no JSON in UTF-8, or a key is missing or has another type.
    """
    data = data.removeprefix(codecs.BOM_UTF8)  # some editors write it; it is no JSON
    try:
        return msgspec.json.decode(data, type=AnnotationFile)
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: {error}") from error
    except msgspec.DecodeError as error:
        # Exporters write NaN, which is no JSON; the standard library reads it, and the box is then counted as dropped.
        if not re.search(rb"\b(NaN|Infinity)\b", data):
            raise DataError(f"{where}: {error}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{where}: {error}; plain JSON in UTF-8 is needed") from error
    try:
        return msgspec.convert(json.loads(data), AnnotationFile)
    except (ValueError, OverflowError, RecursionError) as error:  # OverflowError: integers that no double holds
        raise DataError(f"{where}: {error}") from error


def check_annotations(file: AnnotationFile, where: str) -> None:
    """Refuse what would be counted wrongly rather than noticed.

    Raises:
        DataError: an id or a file name is repeated, an annotation names no image or no category, an image has
            no size, or a file name leaves its folder.
    """
    refuse_repeated([c.id for c in file.categories], "category id", where)
    refuse_repeated([c.name for c in file.categories], "category name", where)
    refuse_repeated([i.id for i in file.images], "image id", where)
    refuse_repeated([i.file_name for i in file.images], "file_name", where)
    refuse_repeated([a.id for a in file.annotations if a.id is not None], "annotation id", where)
    for image in file.images:
        check_file_name(image.file_name, where)
        if not (1 <= image.width <= _LARGEST and 1 <= image.height <= _LARGEST):
            raise DataError(f"{where}: image {image.id}: width {image.width}, height {image.height}")
    images, categories = {i.id for i in file.images}, {c.id for c in file.categories}
    if {a.image_id for a in file.annotations} <= images and {a.category_id for a in file.annotations} <= categories:
        return  # two sets of a million annotations take a tenth of the time of asking each
    for annotation in file.annotations:
        name = f"{where}: annotation {annotation.id}"
        if annotation.image_id not in images:
            raise DataError(f"{name}: image_id {annotation.image_id} is not among the images")
        if annotation.category_id not in categories:
            raise DataError(f"{name}: category_id {annotation.category_id} is not among the categories")
