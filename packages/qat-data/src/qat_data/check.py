"""Is a prepared folder still what its dataset.json says, and could a source be prepared?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import attrs

import qat_artifacts
from qat_data.coco import CocoLayout, read_coco
from qat_data.errors import DataError
from qat_data.health import warnings
from qat_data.parallel import Progress, on_all_cores
from qat_data.prepare import Request, choose_both, describe_split, fingerprint, label_texts, split_fingerprint
from qat_data.records import Dataset, Dropped, LeftOut, Split
from qat_data.sources import SourceData, label_name, view_name
from qat_data.yolo import read_yolo


@attrs.frozen(kw_only=True)
class Counts:
    """What a split holds."""

    images: int
    boxes: int
    images_without_boxes: int
    dropped: Dropped
    clipped: int
    copied: int
    left_out: LeftOut
    notes: tuple[str, ...]

    @classmethod
    def of(cls, split: Split) -> "Counts":
        """Counts of a split, without its files."""
        return cls(**{f.name: getattr(split, f.name) for f in attrs.fields(cls)})


@attrs.frozen(kw_only=True)
class Checked:
    """Result of a check; no faults means that the data can be used. `warnings` are of a source: see `health`."""

    path: str
    format: Literal["prepared", "coco", "yolo"]
    classes: tuple[str, ...]
    train: Counts
    val: Counts
    val_images_in_train: int
    faults: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def _image_faults(images: Sequence[tuple[Path, str]]) -> list[str | None]:
    """What is wrong with each of some images, by its path and the hash it had."""
    found: list[str | None] = []
    for image, sha256 in images:
        if not image.is_file():
            found.append(f"{image}: missing, or its link points nowhere")
        # A mended copy differs from the file that was hashed by its last two bytes; it is ours and stays as written.
        elif image.is_symlink() and qat_artifacts.sha256_file(image) != sha256:
            found.append(f"{image}: its content changed since the data set was prepared")
        else:
            found.append(None)
    return found


def _split_faults(folder: Path, name: str, split: Split, names: list[str], progress: Progress) -> list[str]:
    faults = []
    entries = []
    images = [(folder / "images" / name / view_name(file.file_name), file.sha256) for file in split.files]
    for file, fault in zip(split.files, on_all_cores(_image_faults, images, name, progress), strict=True):
        label = folder / "labels" / name / label_name(view_name(file.file_name))
        if fault:
            faults.append(fault)
        try:
            entries.append((file.image_id, file.file_name, file.sha256, label.read_text(encoding="utf-8")))
        except OSError as error:
            faults.append(f"{label}: {error.strerror}")
        except UnicodeDecodeError:
            faults.append(f"{label}: no text in UTF-8")
    if not faults and split_fingerprint(names, entries) != split.fingerprint:
        faults.append(f"{folder / 'labels' / name}: labels, names or order differ from the fingerprint")
    lines = "".join(f"./images/{name}/{view_name(f.file_name)}\n" for f in split.files)
    listed = folder / f"{name}.txt"
    if not listed.is_file() or listed.read_bytes() != lines.encode():
        faults.append(f"{listed}: does not list the images of dataset.json")
    return faults


def check_prepared(file: Path, progress: Progress = lambda _: None) -> Checked:
    """Compare every file of a prepared folder with its dataset.json.

    Raises:
        ArtifactError: no dataset.json, or not one this version reads.
        DataError: a file cannot be looked at, such as one whose name is longer than a file's may be.
    """
    dataset = qat_artifacts.read(file, Dataset)
    try:
        return _compare(file, dataset, progress)
    except OSError as error:
        raise DataError(f"{file}: {error.filename!a:.300} cannot be read: {error.strerror}") from error


def _compare(file: Path, dataset: Dataset, progress: Progress) -> Checked:
    names = [c.name for c in dataset.classes]
    faults = [
        fault
        for name, split in (("train", dataset.train), ("val", dataset.val))
        for fault in _split_faults(file.parent, name, split, names, progress)
    ]
    if dataset.fingerprint != fingerprint(dataset.train.fingerprint, dataset.val.fingerprint):
        faults.append(f"{file}: fingerprint does not follow from those of its splits")
    if not (file.parent / dataset.data_yaml).is_file():
        faults.append(f"{file.parent / dataset.data_yaml}: missing")
    if kept := dataset.val_annotations:
        annotations = file.parent / kept.file
        if not annotations.is_file():
            faults.append(f"{annotations}: missing")
        elif qat_artifacts.sha256_file(annotations) != kept.sha256:
            faults.append(f"{annotations}: its content changed since the data set was prepared")
    return Checked(
        path=str(file.parent),
        format="prepared",
        classes=tuple(names),
        train=Counts.of(dataset.train),
        val=Counts.of(dataset.val),
        val_images_in_train=dataset.val_images_in_train,
        faults=tuple(faults),
    )


def check_source(data: SourceData, progress: Progress = lambda _: None) -> Checked:
    """Check every image of a source as `prepare` would.

    Raises:
        DataError: the first reason why it cannot be prepared.
    """
    train, val, shared = choose_both(data, Request(), progress)
    return Checked(
        path=data.root,
        format=data.source.format,
        classes=tuple(c.name for c in data.classes),
        train=Counts.of(describe_split(train, data.classes, label_texts(train))),
        val=Counts.of(describe_split(val, data.classes, label_texts(val))),
        val_images_in_train=shared,
        faults=(),
        warnings=tuple(
            text
            for chosen in (train, val)
            for text in warnings(chosen.name, [checked.image for checked in chosen.images], data.classes)
        ),
    )


def check_any(path: Path, progress: Progress = lambda _: None) -> Checked:
    """Check a prepared folder or its dataset.json, a YOLO data.yaml, or a COCO root.

    Raises:
        ArtifactError, DataError: it cannot be read at all.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir() and (path / "dataset.json").exists():
        return check_prepared(path / "dataset.json", progress)
    if path.suffix == ".json":
        return check_prepared(path, progress)
    return check_source(read_coco(CocoLayout(root=path)) if path.is_dir() else read_yolo(path), progress)
