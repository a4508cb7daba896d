"""Two halves of one picture: what the floating-point model found in an image, and what the exported one did."""

import io
from collections.abc import Collection, Sequence

import attrs
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from qat_train.export.matching import FoundObject

# Okabe and Ito's colours, told apart by colour-blind readers too; a class keeps its own in both halves.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
GAP = 8  # pixels between halves and between rows
PAPER, INK = "#FFFFFF", "#000000"


@attrs.frozen(kw_only=True)
class Half:
    """One side. `alone`: places of the objects that the other side lacks, drawn with a frame of double width."""

    title: str
    objects: Sequence[FoundObject]
    alone: Collection[int] = ()


def heading(model: str, count: int, confidence: float, alone: int = 0) -> str:
    """The title over a half, such as "INT4: 11 objects from score 0.25 on, 1 of them only here"."""
    text = f"{model}: {count} object{'' if count == 1 else 's'} from score {confidence:g} on"
    return f"{text}, {alone} of them only here" if alone else text


def draw_row(
    pixels: npt.NDArray[np.uint8], halves: Sequence[Half], names: Sequence[str], *, width: int, height: int
) -> Image.Image:
    """Halves from left to right, each a copy of the image with its objects under its title.

    Args:
        pixels: (height, width, 3), blue, green, red as OpenCV reads an image.
        halves: one or more.
        names: classes by index; the index chooses the colour.
        width: of a half, in pixels; the image is scaled to it, keeping its shape.
        height: of the scaled image at most.
    """
    source = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
    scale = min(width / source.width, height / source.height)
    image = source.resize(
        (max(1, round(source.width * scale)), max(1, round(source.height * scale))), Image.Resampling.LANCZOS
    )
    drawn = [_draw_half(image, half, names, scale=scale, width=width) for half in halves]
    row = Image.new("RGB", (width * len(drawn) + GAP * (len(drawn) - 1), drawn[0].height), PAPER)
    for i, half in enumerate(drawn):
        row.paste(half, (i * (width + GAP), 0))
    return row


def stack(rows: Sequence[Image.Image]) -> Image.Image:
    """Rows of one width under each other."""
    page = Image.new("RGB", (rows[0].width, sum(row.height for row in rows) + GAP * (len(rows) - 1)), PAPER)
    top = 0
    for row in rows:
        page.paste(row, (0, top))
        top += row.height + GAP
    return page


def png(image: Image.Image) -> bytes:
    """The picture, losslessly."""
    return _encoded(image, format="PNG")


def jpeg(image: Image.Image, *, limit: int) -> bytes:
    """The picture within `limit` bytes: as large as it is and in the best quality that fits, or else made smaller.

    Where a quarter of its width does not fit either, that is what is returned.
    """
    for scale in (1.0, 0.8, 0.6, 0.4, 0.25):
        smaller = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        for quality in (85, 75, 65, 55, 45):  # below, text frays
            data = _encoded(smaller, format="JPEG", quality=quality, optimize=True)
            if len(data) <= limit:
                return data
    return data


def _encoded(image: Image.Image, **options: str | int | bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)  # type: ignore[arg-type]  # options of the format
    return buffer.getvalue()


def _draw_half(image: Image.Image, half: Half, names: Sequence[str], *, scale: float, width: int) -> Image.Image:
    size = max(12, round(width / 44))
    font, bar, line = ImageFont.load_default(size), round(1.6 * size), max(2, round(width / 300))
    page = Image.new("RGB", (width, image.height + bar), PAPER)
    left = (width - image.width) // 2
    page.paste(image, (left, bar))
    draw = ImageDraw.Draw(page)
    title = _one_line(half.title)
    while draw.textlength(title, font) > width - 4 and size > 8:  # a long name of a file
        size -= 1
        font = ImageFont.load_default(size)
    draw.text((2, bar // 2), title, INK, font, anchor="lm")
    label_font = ImageFont.load_default(max(11, round(width / 50)))
    colour_of = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    right, bottom = left + image.width - 1, page.height - 1
    corners = []
    for i, found in enumerate(half.objects):
        x1, y1, x2, y2 = (side * scale for side in found.box)
        box = (min(left + x1, right), min(bar + y1, bottom), min(left + x2, right), min(bar + y2, bottom))
        draw.rectangle(box, outline=colour_of[found.name], width=2 * line if i in half.alone else line)
        corners.append(box[:2])
    for found, corner in reversed(list(zip(half.objects, corners, strict=True))):  # over the frames, the best on top
        text = _one_line(f"{found.name} {found.score:.2f}")
        x1, y1, x2, y2 = draw.textbbox(corner, text, label_font, anchor="lb")
        shift, drop = max(0, left - x1) - max(0, x2 + 2 - right), max(0, bar - y1)  # into the image
        draw.rectangle((x1 + shift, y1 + drop, x2 + shift + 2, y2 + drop), fill=colour_of[found.name])
        draw.text((corner[0] + shift + 1, corner[1] + drop), text, INK, label_font, anchor="lb")
    return page


def _one_line(text: str) -> str:
    """Classes and folders may be named with line breaks, which cannot be drawn beside an anchor."""
    return " ".join(text.split())
