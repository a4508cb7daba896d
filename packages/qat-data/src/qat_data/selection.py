"""Which images of a split are used, always in the same order."""

import hashlib
from pathlib import Path

from qat_data.errors import DataError, RequestError
from qat_data.sources import Images, SourceImage, read_text


def hash_key(data_seed: int, image_id: str) -> str:
    """SHA-256 of `data_seed:image_id`. Its order is stable for ever, and a smaller subset is a prefix of a larger."""
    return hashlib.sha256(f"{data_seed}:{image_id}".encode()).hexdigest()


def select(
    images: Images, how: str, number: int | None, data_seed: int
) -> tuple[tuple[SourceImage, ...], str, tuple[str, ...]]:
    """The images of one split that `select_places` chooses; else as that does."""
    places, name, notes = select_places(images, how, number, data_seed)
    return tuple(images[place] for place in places), name, notes


def select_places(
    images: Images, how: str, number: int | None, data_seed: int
) -> tuple[list[int], str, tuple[str, ...]]:
    """Choose images of one split, none of which is made.

    Args:
        images: all of them, in the order of their ids.
        how: "hash", "first", or "list:FILE" (one image id or file name a line).
        number: how many at most; None for all.
        data_seed: seed of the hash order.

    Returns:
        Their places in selection order; the selection as dataset.json states it; notes for people.

    Raises:
        RequestError: unknown `how`, or a number below 1.
        DataError: the list is unreadable or names an image that is not there.
    """
    if number is not None and number < 1:
        raise RequestError(f"at least 1 image is needed, found {number}")
    name = how
    if how == "hash":
        chosen = sorted(range(len(images)), key=lambda place: hash_key(data_seed, images.names[place][0]))
    elif how == "first":
        chosen = list(range(len(images)))
    elif how.startswith("list:"):
        path = Path(how.removeprefix("list:"))
        name = f"list:{path.name}"
        chosen = _listed(images, path)
    else:
        raise RequestError(f"selection {how!r}: expected hash, first or list:FILE")
    notes: tuple[str, ...] = ()
    if number is not None and number > len(chosen):
        notes = (f"{number} images were asked for, all {len(chosen)} are used",)
    return chosen[:number], name, notes


def _listed(images: Images, path: Path) -> list[int]:
    try:
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    known = {name: place for place, (_, name) in enumerate(images.names)}
    known |= {image_id: place for place, (image_id, _) in enumerate(images.names)}
    missing = [line for line in lines if line not in known]
    if missing:
        raise DataError(f"{path}: not among the images: {', '.join(missing[:10])}")
    return list(dict.fromkeys(known[line] for line in lines))
