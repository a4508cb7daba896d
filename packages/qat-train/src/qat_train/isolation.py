"""Ultralytics reads data sets here without fetching anything and without opening a pickle."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ultralytics.data import dataset, utils


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """While it lasts, `owner` has another attribute of that name."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """While it lasts, data sets are described and scanned without a network and without label caches.

    Whoever checks a data set in Ultralytics downloads a font for its plots, of which we draw none. And it reads
    `labels.cache` beside the labels, a pickle that whoever made the folder may have written; the labels themselves are
    read each time, some minutes for all of COCO.
    """
    with (
        replaced(utils, "check_font", lambda _: None),
        replaced(dataset, "load_dataset_cache_file", _no_cache),
        replaced(dataset, "save_dataset_cache_file", _keep_nothing),
    ):
        yield


def _no_cache(path: Path) -> dict[str, Any]:
    raise FileNotFoundError(path)


def _keep_nothing(_prefix: str, _path: Path, content: dict[str, Any], version: str) -> None:
    content["version"] = version  # the caller goes on with the dictionary that would have been written
