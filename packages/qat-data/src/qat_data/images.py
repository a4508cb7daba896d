"""Image files: hash, size, and whether a decoder can read them. They are opened for reading only."""

import hashlib
import io
from typing import BinaryIO, Literal

import attrs
from PIL import Image, ImageOps, UnidentifiedImageError

from qat_data.sources import SourceImage

LEAST_SIDE = 10  # pixels; Ultralytics leaves smaller images out of a run, and only a warning says so

_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
_END_OF_JPEG = b"\xff\xd9"

Reason = Literal["missing", "broken", "other_size", "too_small"]


class Unusable(Exception):
    """An image that cannot be used, with the reason as dataset.json counts it."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason: Reason = reason


@attrs.frozen(kw_only=True)
class CheckedImage:
    """A readable image; `mended` are the bytes of a copy where a reader would otherwise repair the user's file."""

    image: SourceImage
    sha256: str
    width: int
    height: int
    mended: bytes | None


def check_image(image: SourceImage) -> CheckedImage:
    """Hash an image and read its header; decode it whole where its end looks cut off.

    Ultralytics rewrites a JPEG that does not end in FF D9 in place, at another quality. Such a file is decoded here,
    and a copy with that ending takes its place in the view, so the user's file stays as it is.

    Raises:
        Unusable: missing, empty, no known image format, truncated, of another size than the annotations say, or below
            `LEAST_SIDE` pixels wide or high.
    """
    path = image.path
    try:
        with path.open("rb") as stream:  # once, as a disk far away is asked for every open
            with Image.open(stream, formats=_FORMATS) as opened:
                oriented = opened.getexif().get(0x0112, 1)
                width, height = opened.size[::-1] if oriented >= 5 else opened.size  # 5 to 8 turn by 90 degrees
                kind = opened.format
            stream.seek(0)
            if kind != "JPEG":
                with Image.open(stream, formats=_FORMATS) as opened:  # anew: a PNG is read to its end for EXIF
                    opened.verify()
                stream.seek(0)
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            mended = _mend(stream) if kind == "JPEG" else None
    except FileNotFoundError as error:
        raise Unusable("missing", f"{path}: missing") from error
    except UnidentifiedImageError as error:
        raise Unusable("broken", f"{path}: no image of a known format, or empty") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Unusable("broken", f"{path}: {error}") from error
    if image.size is not None and image.size != (width, height):
        stated = f"{image.size[0]} x {image.size[1]}"
        raise Unusable("other_size", f"{path}: the image is {width} x {height}, the annotations say {stated}")
    if min(width, height) < LEAST_SIDE:
        needed = f"each side must have {LEAST_SIDE} pixels or more, or it is left out of a run"
        raise Unusable("too_small", f"{path}: the image is {width} x {height}; {needed}")
    return CheckedImage(image=image, sha256=sha256, width=width, height=height, mended=mended)


def _mend(stream: BinaryIO) -> bytes | None:
    """The file's bytes with FF D9 at the end, or None where it is there."""
    stream.seek(-2, io.SEEK_END)
    if stream.read() == _END_OF_JPEG:
        return None
    stream.seek(0)
    data = stream.read()
    with Image.open(io.BytesIO(data)) as opened:
        ImageOps.exif_transpose(opened).load()  # raises OSError if pixels are missing
    return data + _END_OF_JPEG
