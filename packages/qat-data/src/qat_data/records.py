"""dataset.json: what a prepared data set holds, and where it came from."""

from typing import ClassVar, Literal

import attrs
from attrs import validators

_count = validators.ge(0)


def _inside(instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    """A file of the prepared folder: what is read of it, or hashed, is never a file elsewhere."""
    parts = value.split("/")
    # Printable comes first: what is not may have no bytes at all. File systems take 255 of them.
    wrong = value in ("", ".") or value.startswith("/") or ".." in parts or not value.isprintable()
    if wrong or any(len(part.encode()) > 255 for part in parts):
        raise ValueError(f"{attribute.name} {value!r} is no file in the folder of dataset.json")


@attrs.frozen(kw_only=True)
class Class:
    """One class; `index` counts from 0 without gaps, `category_id` is the COCO file's."""

    index: int = attrs.field(validator=_count)
    name: str
    category_id: int | None = None


@attrs.frozen(kw_only=True)
class Source:
    """Which files the data set was made from, as they were given."""

    format: Literal["coco", "yolo"]
    train_json: str | None = None
    train_dir: str | None = None
    val_json: str | None = None
    val_dir: str | None = None
    data_yaml: str | None = None


@attrs.frozen(kw_only=True)
class Selection:
    """Which images were asked for. `data_seed` is not a run's seed."""

    data_seed: int
    train: str
    val: str
    train_images_requested: int | None = None
    val_images_requested: int | None = None


@attrs.frozen(kw_only=True)
class Dropped:
    """Boxes that are no label, by reason."""

    crowd: int = attrs.field(default=0, validator=_count)
    zero_area: int = attrs.field(default=0, validator=_count)
    outside: int = attrs.field(default=0, validator=_count)
    not_finite: int = attrs.field(default=0, validator=_count)


@attrs.frozen(kw_only=True)
class LeftOut:
    """Images that were selected and cannot be used, by reason; `too_small` for Ultralytics to train on."""

    missing: int = attrs.field(default=0, validator=_count)
    broken: int = attrs.field(default=0, validator=_count)
    other_size: int = attrs.field(default=0, validator=_count)
    too_small: int = attrs.field(default=0, validator=_count)


def _file(instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    """The name of an image; whatever it says, it is looked for under its `view_name` in the prepared folder."""
    if value in ("", ".") or not value.isprintable():
        raise ValueError(f"{attribute.name} {value!r} is no name of a file")


@attrs.frozen(kw_only=True)
class File:
    """One image of a split. `image_id` is the COCO id as text, or the file name of a YOLO data set."""

    image_id: str
    file_name: str = attrs.field(validator=_file)
    sha256: str
    width: int = attrs.field(validator=validators.ge(1))
    height: int = attrs.field(validator=validators.ge(1))
    boxes: int = attrs.field(validator=_count)


@attrs.frozen(kw_only=True)
class Split:
    """One split: `files` in selection order, `copied` images whose JPEG trailer was mended in a copy."""

    images: int = attrs.field(validator=validators.ge(1))
    boxes: int = attrs.field(validator=validators.ge(1))
    images_available: int
    images_without_boxes: int = attrs.field(validator=_count)
    fingerprint: str
    dropped: Dropped
    clipped: int = attrs.field(validator=_count)
    copied: int = attrs.field(validator=_count)
    left_out: LeftOut = attrs.field(factory=LeftOut)
    notes: tuple[str, ...]
    files: tuple[File, ...]


@attrs.frozen(kw_only=True)
class Annotations:
    """A COCO annotation file beside dataset.json: objects, and the crowds among them that nothing has to find."""

    file: str = attrs.field(validator=_inside)
    sha256: str
    objects: int = attrs.field(validator=_count)
    crowds: int = attrs.field(validator=_count)


@attrs.frozen(kw_only=True)
class Dataset:
    """The artifact qat-data/dataset. `val_images_in_train` images of val are in train too, byte for byte.

    `val_annotations` is what `qat-data evaluate` counts; a folder prepared before that command existed has none.
    """

    SCHEMA: ClassVar[str] = "qat-data/dataset"
    VERSION: ClassVar[str] = "1.0"

    name: str
    coco_root: str
    data_yaml: str = attrs.field(validator=_inside)
    fingerprint: str
    source: Source
    classes: tuple[Class, ...] = attrs.field(validator=validators.min_len(1))
    selection: Selection
    train: Split
    val: Split
    val_images_in_train: int = attrs.field(default=0, validator=_count)
    val_annotations: Annotations | None = None

    def __attrs_post_init__(self) -> None:
        if [c.index for c in self.classes] != list(range(len(self.classes))):
            raise ValueError("classes: index must count from 0 without gaps")
