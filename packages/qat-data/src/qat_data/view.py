"""The folder that Ultralytics reads: labels, lists, data.yaml, and links to the user's images.

Labels are not synced one by one: dataset.json, which is written last and synced, holds their fingerprint.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import yaml

from qat_data.images import CheckedImage
from qat_data.records import Class
from qat_data.sources import SourceImage, label_name, view_name

_AT_ONCE = 200  # files that the thread is given


def label_text(image: SourceImage) -> str:
    """The YOLO label file of an image."""
    return "".join(label.line() + "\n" for label in image.labels)


def write_labels(folder: Path, split: str, file_names: Iterable[str], texts: Iterable[str]) -> None:
    """Write labels/SPLIT with a file for each image, and the list SPLIT.txt.

    Files are written by a thread, as most of that time is the system's, while `texts` are made here.
    """
    labels = folder / "labels" / split
    labels.mkdir(parents=True)
    names = [view_name(name) for name in file_names]
    handle = os.open(labels, os.O_RDONLY)
    try:
        with ThreadPoolExecutor(max_workers=1) as pool:
            rest, pending = iter(texts), []
            for start in range(0, len(names), _AT_ONCE):
                some = names[start : start + _AT_ONCE]
                pending.append(pool.submit(_write_some, some, list(islice(rest, len(some))), handle))
            for one in pending:
                one.result()
    finally:
        os.close(handle)
    lines = "".join(f"./images/{split}/{name}\n" for name in names)
    (folder / f"{split}.txt").write_text(lines, encoding="utf-8")


def _write_some(names: list[str], texts: list[str], folder: int) -> None:
    for name, text in zip(names, texts, strict=True):
        _write_new(label_name(name), text.encode(), folder)


def _write_new(name: str, data: bytes, folder: int) -> None:
    """A new file in an open folder: system calls alone, as a file object costs more than the file."""
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
    try:
        while data:
            data = data[os.write(handle, data) :]
    finally:
        os.close(handle)


def link_images(folder: Path, split: str, images: Iterable[CheckedImage], out: Path) -> None:
    """Fill images/SPLIT with links, and with mended copies where a reader would rewrite the user's file.

    A link is relative where its image lies beside the prepared folder `out`, so that both may be moved together.
    """
    links = folder / "images" / split
    links.mkdir(parents=True)
    here, beside = links.resolve(), out.parent.resolve()

    def shown(path: Path) -> str:
        return os.path.relpath(path, here) if path.is_relative_to(beside) else str(path)

    folders: dict[Path, str] = {}  # resolving asks the system for every folder on the way: once a folder, not an image
    for checked in images:
        link, path = links / view_name(checked.image.file_name), checked.image.path
        if checked.mended is not None:
            link.write_bytes(checked.mended)
        elif path.is_symlink():
            link.symlink_to(shown(path.resolve()))
        else:
            if path.parent not in folders:
                folders[path.parent] = shown(path.parent.resolve())
            link.symlink_to(f"{folders[path.parent]}/{path.name}")


def write_data_yaml(folder: Path, classes: Iterable[Class]) -> None:
    """Write data.yaml for lists train.txt and val.txt beside it."""
    content = {"train": "train.txt", "val": "val.txt", "names": {c.index: c.name for c in classes}}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
