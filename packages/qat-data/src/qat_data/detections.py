"""Detections in COCO's results format, checked before an evaluator sees them.

Evaluators answer with an average precision, not with an error, where a box is not finite or negative, and some where an
id is unknown; a wrong file would read as a weak model.
"""

import codecs
import hashlib
import json
from pathlib import Path

import attrs
import msgspec

from qat_data.boxes import box_fault
from qat_data.errors import DataError
from qat_data.truth import GroundTruth

MAX_BYTES = 1 << 30  # 300 detections on each image of val2017 take about 170 MB; more is read into memory by mistake
SHOWN = 10

_SHAPE = "a list is needed, of {image_id, category_id, bbox: [left, top, width, height], score}"
_KINDS = {dict: "an object", str: "a text", type(None): "null", bool: "true or false"}


class Detection(msgspec.Struct, frozen=True, gc=False):
    """One detection: `bbox` is left, top, width and height in pixels of the image, `score` is in [0, 1].

    Both ids are those of the annotation file. Keys beside these four are passed over.
    """

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


@attrs.frozen(kw_only=True)
class Detections:
    """A checked file of detections, in its order."""

    file: Path
    sha256: str
    entries: tuple[Detection, ...]


def _decode(data: bytes, path: Path) -> tuple[dict[int, Detection], dict[int, str]]:
    """Detections, and what is wrong with the other entries, by their place in the file."""
    try:
        return dict(enumerate(msgspec.json.decode(data, type=list[Detection]))), {}
    except (msgspec.DecodeError, RecursionError):
        pass  # read once more: msgspec stops at the first fault, and takes NaN, which exporters write, for no JSON
    try:
        content = json.loads(data)
    except RecursionError as error:
        raise DataError(f"{path}: nested too deeply; {_SHAPE}") from error
    except ValueError as error:  # also bytes that are not UTF-8
        raise DataError(f"{path}: no JSON in UTF-8: {error}") from error
    if not isinstance(content, list):
        raise DataError(f"{path}: {_SHAPE}; found {_KINDS.get(type(content), 'a number')}")
    found: dict[int, Detection] = {}
    faults: dict[int, str] = {}
    for place, entry in enumerate(content):
        try:
            found[place] = msgspec.convert(entry, Detection)
        except (msgspec.ValidationError, OverflowError, UnicodeEncodeError) as error:  # 10**400; half a character
            faults[place] = str(error)
    return found, faults


def _fault(entry: Detection, truth: GroundTruth) -> str | None:
    if entry.image_id not in truth.images:
        return f"image_id {entry.image_id} is not among the images of the annotations"
    if entry.category_id not in truth.categories:
        return f"category_id {entry.category_id} is not among the categories of the annotations"
    if fault := box_fault(entry.bbox):
        return f"bbox {list(entry.bbox)} {fault}"
    if not 0 <= entry.score <= 1:  # true for NaN
        return f"score {entry.score} is not within 0 and 1"
    return None


def read_detections(path: Path, truth: GroundTruth) -> Detections:
    """Read and check a results file against the images and categories of `truth`; an empty list is valid.

    Raises:
        DataError: missing, larger than `MAX_BYTES`, no JSON, no list, or with entries that cannot be counted: all of
            them are counted, the first `SHOWN` are shown with their place in the file and the reason.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size} bytes, more than the {MAX_BYTES} that are read; keep fewer boxes an image")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    found, faults = _decode(data.removeprefix(codecs.BOM_UTF8), path)
    faults |= {place: fault for place, entry in found.items() if (fault := _fault(entry, truth))}
    if faults:
        wrong = sorted(faults.items())
        shown = "".join(f"\n  entry {place}: {fault}" for place, fault in wrong[:SHOWN])
        more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        number = len(found.keys() | faults.keys())
        raise DataError(f"{path}: {len(wrong)} of {number} entries, counted from 0, cannot be evaluated:{shown}{more}")
    return Detections(file=path, sha256=hashlib.sha256(data).hexdigest(), entries=tuple(found.values()))
