"""Artifacts on disk. The header is checked before any field of the body is looked at."""

import contextlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import attrs

from qat_artifacts._convert import structure, unstructure
from qat_artifacts._files import sha256_file, write_text
from qat_artifacts._header import HEADER_KEYS, Header, Record, Ref, version_pair
from qat_artifacts.errors import ArtifactError, NotAnArtifact, UnsupportedVersion

T = TypeVar("T", bound=Record)

MAX_BYTES = 1 << 28  # a hostile size is refused before it is read


def dumps(value: Any) -> str:
    """JSON text with sorted keys; NaN and infinity raise ValueError."""
    return json.dumps(value, allow_nan=False, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # also 1e999, which is valid JSON and infinite as a double
        raise ValueError(f"{text} is not allowed")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def loads(text: str | bytes) -> Any:
    """JSON values of a text; NaN, infinity, duplicate keys and halves of characters raise ValueError."""
    value = json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_no_duplicates)
    json.dumps(value, ensure_ascii=False).encode()  # "\ud800" is JSON, and no text that could name or fill a file
    return value


def _load(path: Path) -> dict[str, Any]:
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise NotAnArtifact(f"{path}: {size} bytes, more than the {MAX_BYTES} an artifact may have")
        raw = loads(path.read_bytes())
    except OSError as error:
        raise NotAnArtifact(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise NotAnArtifact(f"{path}: not valid JSON: {error}") from error
    if not isinstance(raw, dict):
        raise NotAnArtifact(f"{path}: a JSON object is expected, found {type(raw).__name__}")
    return raw


def _header(raw: dict[str, Any], path: Path) -> Header:
    if "schema" not in raw or "version" not in raw:
        raise NotAnArtifact(f"{path}: no artifact: 'schema' and 'version' are missing")
    return structure({k: raw[k] for k in HEADER_KEYS if k in raw}, Header, source=str(path))


def read_header(path: Path) -> Header:
    """The header alone, of an artifact of any schema and version."""
    return _header(_load(path), path)


def _body(path: Path, cls: type[Record]) -> tuple[dict[str, Any], bool]:
    """The body, and whether a newer minor wrote it."""
    raw = _load(path)
    if raw.get("schema") != cls.SCHEMA:
        raise NotAnArtifact(f"{path}: schema {cls.SCHEMA!r} is expected, found {raw.get('schema')!r}")
    try:
        found, known = version_pair(str(raw.get("version"))), version_pair(cls.VERSION)
    except ValueError as error:
        raise NotAnArtifact(f"{path}: {error}") from error
    if found[0] != known[0]:
        raise UnsupportedVersion(
            f"{path}: {cls.SCHEMA} {raw['version']} written by {raw.get('created_by', 'an unknown program')}, "
            f"this program reads {known[0]}.x{'; a newer release of it is needed' if found > known else ''}"
        )
    _header(raw, path)
    return {k: v for k, v in raw.items() if k not in HEADER_KEYS}, found > known


def read(path: Path, cls: type[T]) -> T:
    """Read an artifact as its owner does: every key is known, unless a newer minor wrote the file.

    Raises:
        NotAnArtifact, UnsupportedVersion, InvalidArtifact: each text names the file, and the field where there is one.
    """
    body, newer = _body(path, cls)
    return structure(body, cls, source=str(path), strict=not newer)


def read_view(path: Path, cls: type[T]) -> T:
    """Read the fields of `cls` from somebody else's artifact and ignore all others."""
    return structure(_body(path, cls)[0], cls, source=str(path), strict=False)


def _reference(target: Path, folder: Path) -> Ref:
    schema = "file"
    with contextlib.suppress(ArtifactError):  # other JSON than ours is a file like any other
        schema = read_header(target).schema if target.suffix == ".json" else schema
    relative = os.path.relpath(target.resolve(), folder.resolve())
    return Ref(schema=schema, sha256=sha256_file(target), path=Path(relative).as_posix())


def write(path: Path, record: Record, *, created_by: str | None = None, inputs: Iterable[Path] = ()) -> Header:
    """Write a record atomically, with the hashes of the files it was made from.

    `created_by` defaults to the distribution before the slash of the schema and its installed version.
    The record is checked as a reader would check it: what cannot be read again is never written.
    """
    import importlib.metadata  # here: a command that writes nothing starts without it

    name = record.SCHEMA.partition("/")[0]
    header = Header(
        schema=record.SCHEMA,
        version=record.VERSION,
        created_by=created_by or f"{name} {importlib.metadata.version(name)}",
        inputs=tuple(_reference(Path(item), path.parent) for item in inputs),
    )
    body = unstructure(record)
    structure(body, type(record), source=str(path))
    write_text(path, dumps({**attrs.asdict(header), **body}))
    return header
