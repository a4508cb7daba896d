"""The fields every artifact begins with."""

import re
from typing import ClassVar, Protocol

import attrs

HEADER_KEYS = ("schema", "version", "created_by", "inputs")


class Record(Protocol):
    """An attrs class that names the schema it is stored under, such as "qat-data/dataset", and its "major.minor"."""

    SCHEMA: ClassVar[str]
    VERSION: ClassVar[str]


@attrs.frozen(kw_only=True)
class Ref:
    """One input of an artifact: the schema it had ("file" for other files), its SHA-256, and its path.

    `path` is relative to the folder of the artifact that holds the reference, so a moved tree stays valid.
    """

    schema: str
    sha256: str
    path: str


def version_pair(text: str) -> tuple[int, int]:
    """("major", "minor") of a version string; raises ValueError for anything else."""
    match = re.fullmatch(r"(\d{1,6})\.(\d{1,6})", text)
    if match is None:
        raise ValueError(f"version {text!r} is not of the form 'major.minor'")
    return int(match[1]), int(match[2])


@attrs.frozen(kw_only=True)
class Header:
    """What a file says of itself before any field of its body is looked at."""

    schema: str
    version: str
    created_by: str
    inputs: tuple[Ref, ...] = ()
