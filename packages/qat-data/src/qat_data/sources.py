"""What every source format is read into: classes, and the images of two splits with their labels."""

from collections import Counter
from pathlib import Path

import attrs

from qat_data.boxes import Label, Reason, TruthBox
from qat_data.errors import DataError
from qat_data.records import Class, Source


@attrs.frozen(kw_only=True)
class SourceImage:
    """One image as its annotation file describes it; `size` (width, height) in pixels where that file states one.

    `truth` is what an evaluation counts: crowds and boxes without area are in it, though they are no labels. It is kept
    for the val split of a COCO source.
    """

    image_id: str
    file_name: str
    path: Path
    size: tuple[int, int] | None
    labels: tuple[Label, ...]
    dropped: tuple[Reason, ...]
    truth: tuple[TruthBox, ...] = ()


@attrs.frozen(kw_only=True)
class SourceData:
    """A data set as it was found, nothing selected yet. Images of a split in the order of their ids.

    `folders` are the user's: nothing is written into them.
    """

    root: str
    source: Source
    folders: tuple[Path, ...]
    classes: tuple[Class, ...]
    train: tuple[SourceImage, ...]
    val: tuple[SourceImage, ...]


def view_name(file_name: str) -> str:
    """Name of an image in the prepared folder: `a/b.jpg` becomes `a__b.jpg`.

    Flat, because Ultralytics finds labels by replacing the last `/images/` of a path.
    """
    return file_name.replace("/", "__")


def check_file_name(file_name: str, where: str) -> None:
    """Refuse names that leave the image folder or that a line of a list cannot hold.

    Raises:
        DataError: naming file and name.
    """
    parts = file_name.split("/")
    if not file_name or file_name.startswith("/") or ".." in parts or "\\" in file_name:
        raise DataError(f"{where}: file_name {file_name!r} leaves the image folder")
    if any(not c.isprintable() for c in file_name):
        raise DataError(f"{where}: file_name {file_name!r} holds a control character")


def read_text(path: Path) -> str:
    """A file of the user's as text, without the byte order mark that some editors put before it.

    Raises:
        DataError: it is not UTF-8; the text names file and line.
    """
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{error.object[error.start]:02X} is not UTF-8"
        raise DataError(f"{path}:{line}: {found}; save the file as UTF-8 text") from error


def refuse_repeated(values: list[str], what: str, where: str) -> None:
    """Raise DataError naming up to ten values that occur more than once."""
    if len(set(values)) == len(values):
        return
    repeated = [value for value, count in Counter(values).items() if count > 1]
    shown = ", ".join(repeated[:10]) + (f" and {len(repeated) - 10} more" if len(repeated) > 10 else "")
    raise DataError(f"{where}: {what} repeated: {shown}")
