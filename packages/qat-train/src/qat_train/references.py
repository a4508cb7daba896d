"""FP32 and PTQ of one checkpoint on one data set: measured once, kept beside the runs that share them."""

from pathlib import Path
from typing import ClassVar

import attrs

import qat_artifacts
from qat_train.run import References


@attrs.frozen(kw_only=True)
class ReferenceKey:
    """Everything a reference depends on. Another key means another measurement."""

    checkpoint_sha256: str
    dataset_fingerprint: str
    imgsz: int
    quantization: str
    evaluator: str
    head: str


@attrs.frozen(kw_only=True)
class Entry:
    """One measurement."""

    key: ReferenceKey
    references: References


@attrs.frozen(kw_only=True)
class StoredReferences:
    """The cache file `<checkpoint12>-<data12>.json`: one entry per key."""

    SCHEMA: ClassVar[str] = "qat-train/references"
    VERSION: ClassVar[str] = "1.0"

    entries: tuple[Entry, ...]


def reference_path(folder: Path, key: ReferenceKey) -> Path:
    """Where references of this checkpoint and data set are kept."""
    return folder / f"{key.checkpoint_sha256[:12]}-{key.dataset_fingerprint[:12]}.json"


def find_references(folder: Path | None, key: ReferenceKey) -> References | None:
    """A stored measurement under exactly this key."""
    if folder is None or not reference_path(folder, key).exists():
        return None
    stored = qat_artifacts.read(reference_path(folder, key), StoredReferences)
    return next((entry.references for entry in stored.entries if entry.key == key), None)


def store_references(folder: Path | None, key: ReferenceKey, references: References) -> References:
    """Add a measurement to the cache and return it."""
    if folder is not None:
        path = reference_path(folder, key)
        known = qat_artifacts.read(path, StoredReferences).entries if path.exists() else ()
        kept = tuple(entry for entry in known if entry.key != key)
        qat_artifacts.write(path, StoredReferences(entries=(*kept, Entry(key=key, references=references))))
    return references
