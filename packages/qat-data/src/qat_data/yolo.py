"""A YOLO data.yaml with its image folders or lists and label files, read without touching them."""

import math
import unicodedata
from pathlib import Path
from typing import Any

import yaml

from qat_data.boxes import Label, Reason, to_label
from qat_data.errors import DataError
from qat_data.records import Class, Source
from qat_data.sources import SourceData, SourceImage, check_file_name, read_text, refuse_repeated

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class _Loader(yaml.SafeLoader):
    """Without merge keys: merged ten at a time, ten deep, a file of one kilobyte becomes ten thousand million pairs."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Called before each mapping is built, to spell its merges out."""
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "merge keys (<<) are not read", key.start_mark)
        super().flatten_mapping(node)


def _load(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    try:
        content = yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except RecursionError as error:
        raise DataError(f"{path}: nested too deeply; a mapping is needed, with train, val and names") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # the latter for values: month 13
        raise DataError(f"{path}: no YAML that can be read: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: a mapping is needed, with train, val and names")
    for key in ("train", "val", "names"):
        if not content.get(key):
            raise DataError(f"{path}: {key} is missing")
    # Values are shown by their type where they are no scalars: a list of aliases of lists prints as gigabytes.
    for key in ("path", "nc"):
        if not isinstance(content.get(key), str | int | float | None):
            raise DataError(f"{path}: {key} is a {type(content[key]).__name__}; correct it, or leave it out")
    return content


def _names(path: Path, raw: Any) -> tuple[Class, ...]:
    pairs = dict(enumerate(raw)) if isinstance(raw, list) else raw
    needed = "names must be a list, or a mapping whose keys count from 0 without gaps"
    if not isinstance(pairs, dict):
        raise DataError(f"{path}: {needed}")
    for key, name in pairs.items():
        if key not in range(len(pairs)):
            raise DataError(f"{path}: {needed}; found the key {key!r} among {len(pairs)}")
        if not isinstance(name, str | int | float):
            raise DataError(f"{path}: names: class {key} has no name that is text")
    names = [str(pairs[i]) for i in range(len(pairs))]
    refuse_repeated(names, "class name", str(path))
    return tuple(Class(index=i, name=name) for i, name in enumerate(names))


def _places(path: Path, root: Path, content: dict[str, Any], split: str) -> list[Path]:
    """What data.yaml names for a split: a folder, a list file, or several of them."""
    raw = content[split]
    entries = raw if isinstance(raw, list) else [raw]
    if not all(isinstance(entry, str | int | float) for entry in entries):
        raise DataError(f"{path}: {split} must be a folder, a list of images, or several of them")
    return [root / str(entry) for entry in entries]


def _image_paths(path: Path, places: list[Path]) -> list[Path]:
    """Images of one split. Folders are searched to any depth."""
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            found += [p for p in place.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES]
        elif place.is_file():
            found += [place.parent / line.strip() for line in read_text(place).splitlines() if line.strip()]
        else:
            raise DataError(f"{path}: {place} is neither a folder nor a list of images")
    return found


def _label_path(image: Path) -> Path:
    """Ultralytics' rule: the last folder named images becomes labels."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _label(where: str, values: list[str], classes: int) -> Label | Reason:
    """One line: class and box, or class and the corners of a polygon, whose bounding box is taken."""
    try:
        index, numbers = float(values[0]), [float(v) for v in values[1:]]
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    if not 0 <= index < classes or index != int(index):  # in this order: int() takes neither nan nor inf
        raise DataError(f"{where}: class {values[0]} is not among the {classes} classes, which count from 0")
    if len(numbers) == 4:
        x, y, width, height = numbers
        return to_label(int(index), (x - width / 2, y - height / 2, width, height), 1.0, 1.0)
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        if not all(math.isfinite(v) for v in numbers):
            return "not_finite"  # min and max below pass over nan
        left, top = min(numbers[::2]), min(numbers[1::2])
        return to_label(int(index), (left, top, max(numbers[::2]) - left, max(numbers[1::2]) - top), 1.0, 1.0)
    raise DataError(f"{where}: a class and 4 numbers (or a polygon) are needed, found {len(values)} values")


def _split(yaml_path: Path, root: Path, places: list[Path], classes: int) -> tuple[SourceImage, ...]:
    images = []
    for path in sorted(_image_paths(yaml_path, places)):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        check_file_name(name, str(yaml_path))
        label_file = _label_path(path)
        labels: list[Label] = []
        dropped: list[Reason] = []
        lines = read_text(label_file).splitlines() if label_file.is_file() else []
        for number, line in enumerate(lines, 1):
            if not line.split():
                continue
            label = _label(f"{label_file}:{number}", line.split(), classes)
            if isinstance(label, Label):
                labels.append(label)
            else:
                dropped.append(label)
        images.append(
            SourceImage(
                image_id=unicodedata.normalize("NFC", name),
                file_name=name,
                path=path,
                size=None,
                labels=tuple(labels),
                dropped=tuple(dropped),
            )
        )
    refuse_repeated([i.image_id for i in images], "image", str(yaml_path))
    return tuple(images)


def read_yolo(data_yaml: Path) -> SourceData:
    """Read and check a YOLO data set.

    Raises:
        DataError: data.yaml, a list or a label file is malformed or cannot be read, a class index is out of range, or
            a folder is missing.
    """
    try:
        return _read(data_yaml, _load(data_yaml))
    except OSError as error:  # such as a name that is longer than a file's may be
        raise DataError(f"{data_yaml}: {error.filename!a:.300} cannot be read: {error.strerror}") from error


def _read(data_yaml: Path, content: dict[str, Any]) -> SourceData:
    root = data_yaml.parent / str(content.get("path") or "")
    classes = _names(data_yaml, content["names"])
    if "nc" in content and content["nc"] != len(classes):
        stated = f"nc is {content['nc']!r}, but names lists {len(classes)}"
        raise DataError(f"{data_yaml}: {stated}; correct one of them, or leave nc out")
    train, val = (_places(data_yaml, root, content, split) for split in ("train", "val"))
    folders = [place for place in (*train, *val) if place.is_dir()]
    return SourceData(
        root=str(root),
        source=Source(format="yolo", data_yaml=str(data_yaml)),
        folders=(*folders, *(_label_path(folder / "image").parent for folder in folders)),
        classes=classes,
        train=_split(data_yaml, root, train, len(classes)),
        val=_split(data_yaml, root, val, len(classes)),
    )
