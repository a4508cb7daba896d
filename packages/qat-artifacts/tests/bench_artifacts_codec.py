"""Writing and reading a record with 10,000 entries, the order of a data set's file list."""

from typing import ClassVar

import attrs
import pytest

import qat_artifacts


@attrs.frozen(kw_only=True)
class Entry:
    name: str
    sha256: str
    width: int


@attrs.frozen(kw_only=True)
class Listing:
    SCHEMA: ClassVar[str] = "example/listing"
    VERSION: ClassVar[str] = "1.0"

    files: tuple[Entry, ...]


@pytest.fixture(scope="module")
def listing():
    return Listing(files=tuple(Entry(name=f"{i:012}.jpg", sha256=f"{i:064}", width=640) for i in range(10_000)))


def test_write(benchmark, tmp_path, listing):
    benchmark(qat_artifacts.write, tmp_path / "listing.json", listing, created_by="example 1.0")


def test_read(benchmark, tmp_path, listing):
    qat_artifacts.write(tmp_path / "listing.json", listing, created_by="example 1.0")
    assert benchmark(qat_artifacts.read, tmp_path / "listing.json", Listing) == listing
