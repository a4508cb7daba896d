"""Detections of an exported model, drawn beside those of its floating point checkpoint by `qat-train export`."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from attrs import validators

from qat_report.comparison import ExportPictures, ExportRow, Row
from qat_report.errors import ReportError
from qat_report.finding import relative
from qat_report.methods import STANDING
from qat_report.numbers import count
from qat_report.records import unit_interval

MOST_EMBEDDED = 3  # one per variant; with the tables and plots of sixty runs a page stays below 1 MB
MOST_BYTES = 150_000  # of a picture; `qat-train export` makes some 120 kB
_JPEG = b"\xff\xd8\xff"  # how every JPEG begins (ITU-T T.81, annex B: SOI, then a marker)


@attrs.frozen(kw_only=True)
class PicturesView:
    """`pictures` of export.json: objects found in each image by FP32 and by INT4, from the score `confidence` on."""

    file: str
    confidence: float = attrs.field(validator=unit_interval)
    fp32: tuple[int, ...] = attrs.field(validator=validators.deep_iterable(validators.ge(0)))
    int4: tuple[int, ...] = attrs.field(validator=validators.deep_iterable(validators.ge(0)))

    def __attrs_post_init__(self) -> None:
        if len(self.fp32) != len(self.int4):
            raise ValueError(f"{len(self.fp32)} images of FP32, {len(self.int4)} of INT4")


@attrs.frozen(kw_only=True)
class Embedded:
    """A picture as it stands in a page: a data: URI, and its text for those who do not see it."""

    run_id: str
    uri: str
    text: str


def find_pictures(
    export: Path, view: PicturesView | None, hashes: Mapping[str, str], *, out: Path
) -> tuple[ExportPictures | None, str | None]:
    """The picture beside an export.json that may be shown, or a note why it may not; neither where there is none.

    Args:
        export: export.json.
        view: its `pictures`; the name of the file is input, and is not followed out of the folder.
        hashes: its `files_sha256`.
        out: the folder of the comparison.
    """
    if view is None:
        return None, None
    if view.file in {"", ".."} or "\0" in view.file or Path(view.file).name != view.file:
        return None, f"{relative(export, out)}: its pictures are refused, {view.file!r} is not a name beside it"
    place = export.parent / view.file
    name = relative(place, out)
    if not place.is_file():
        return None, f"{name} is left out: it is not there"
    content = place.read_bytes()
    if hashes.get(view.file) != _sha256(content):
        return None, f"{name} is refused: its SHA-256 is not the one in export.json; export again"
    if not content.startswith(_JPEG):
        return None, f"{name} is refused: it is no JPEG"
    if len(content) > MOST_BYTES:
        return None, f"{name} is left out: {len(content):,} bytes, a page takes {MOST_BYTES:,}"
    found = ExportPictures(
        file=name, sha256=_sha256(content), confidence=view.confidence, fp32=view.fp32, int4=view.int4
    )
    return found, None


def embed(exports: Sequence[ExportRow], rows: Sequence[Row], *, out: Path) -> tuple[Embedded, ...]:
    """The pictures that a page in `out` shows: one per variant, at most three, in the order of the variants.

    Of a variant it is that of the row that the verdict is about, ema+qc, or of the first row that has one.

    Raises:
        ReportError: a picture changed after `find_pictures` saw it.
    """
    by_id = {row.run_id: row for row in rows}
    chosen: dict[str, tuple[Row, ExportPictures]] = {}
    for export in exports:
        row, pictures = by_id[export.run_id], export.pictures
        if pictures is None:
            continue
        held = chosen.get(row.variant)
        if held is None or (row.method == STANDING[-1] != held[0].method):
            chosen[row.variant] = row, pictures
    return tuple(_embed(row, pictures, out) for row, pictures in list(chosen.values())[:MOST_EMBEDDED])


def picture_text(pictures: ExportPictures) -> str:
    """Such as "2 validation images, objects from score 0.25 on: FP32 11, 4; INT4 10, 4"."""
    fp32, int4 = (", ".join(map(str, counts)) for counts in (pictures.fp32, pictures.int4))
    images = count(len(pictures.fp32), "validation image")
    return f"{images}, objects from score {pictures.confidence:g} on: FP32 {fp32}; INT4 {int4}"


def _embed(row: Row, pictures: ExportPictures, out: Path) -> Embedded:
    content = (out / pictures.file).read_bytes()
    if _sha256(content) != pictures.sha256:
        raise ReportError(f"{out / pictures.file}: changed while it was read; compare again")
    uri = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
    return Embedded(run_id=row.run_id, uri=uri, text=picture_text(pictures))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
