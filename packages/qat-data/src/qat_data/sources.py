"""What every source format is read into: classes, and the images of two splits with their labels."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import attrs

from qat_data.boxes import Label, Reason, TruthBox
from qat_data.errors import DataError
from qat_data.records import Class, Source


@attrs.frozen(kw_only=True)
class SourceImage:
    """One image as its annotation file describes it; `size` (width, height) in pixels where that file states one.

    `truth` is what an evaluation counts: crowds and boxes without area are in it, though they are no labels. It is kept
    for the val split of a COCO source. `flat` counts labels whose annotation states an area of 0.
    """

    image_id: str
    file_name: str
    path: Path
    size: tuple[int, int] | None
    labels: tuple[Label, ...]
    dropped: tuple[Reason, ...]
    truth: tuple[TruthBox, ...] = ()
    flat: int = 0


@attrs.frozen(eq=False)
class Images(Sequence[SourceImage]):
    """The images of a split. Each is made when it is looked at: of train2017, labels are needed of a subset alone.

    `names` are image id and file name of each, which is all that a selection asks for.
    """

    names: Sequence[tuple[str, str]]
    make: Callable[[int], SourceImage] = attrs.field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> SourceImage: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[SourceImage, ...]: ...
    def __getitem__(self, place: int | slice) -> SourceImage | tuple[SourceImage, ...]:
        numbers = range(len(self.names))[place]
        return self.make(numbers) if isinstance(numbers, int) else tuple(map(self.make, numbers))

    def __iter__(self) -> Iterator[SourceImage]:
        return map(self.make, range(len(self.names)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Images) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # equal by what would be made


def images_of(images: Iterable[SourceImage]) -> Images:
    """Images that are made already, or the same."""
    if isinstance(images, Images):
        return images
    made = tuple(images)
    return Images([(image.image_id, image.file_name) for image in made], made.__getitem__)


@attrs.frozen(kw_only=True)
class SourceData:
    """A data set as it was found, nothing selected yet. Images of a split in the order of their ids.

    `folders` are the user's: nothing is written into them.
    """

    root: str
    source: Source
    folders: tuple[Path, ...]
    classes: tuple[Class, ...]
    train: Images = attrs.field(converter=images_of)
    val: Images = attrs.field(converter=images_of)


def view_name(file_name: str) -> str:
    """Name of an image in the prepared folder: `a/b.jpg` becomes `a__b.jpg`.

    Flat, because Ultralytics finds labels by replacing the last `/images/` of a path.
    """
    return file_name.replace("/", "__")


def label_name(name: str) -> str:
    """Name of the label file of an image by its `view_name`."""
    return Path(name).with_suffix(".txt").name


def check_file_name(file_name: str, where: str) -> None:
    """Refuse names that leave the image folder or that a line of a list cannot hold.

    Raises:
        DataError: naming file and name.
    """
    up = ".." in file_name and ".." in file_name.split("/")
    if file_name in ("", ".") or file_name.startswith("/") or up or "\\" in file_name:
        raise DataError(f"{where}: file_name {file_name!r} leaves the image folder")
    if not file_name.isprintable():
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


def refuse_repeated(values: Sequence[str | int], what: str, where: str) -> None:
    """Raise DataError naming up to ten values that occur more than once."""
    if len(set(values)) == len(values):
        return
    repeated = [str(value) for value, count in Counter(values).items() if count > 1]
    shown = ", ".join(repeated[:10]) + (f" and {len(repeated) - 10} more" if len(repeated) > 10 else "")
    raise DataError(f"{where}: {what} repeated: {shown}")
