"""A drawn data set in COCO2017 layout: learnable, not trivial, the same for the same seed.

Six classes that share colours, sizes and textures, so that only shape tells them apart; they overlap, turn, and stand
on textured backgrounds among strokes that belong to no class. Image i of a split depends on (seed, split, i) alone: a
longer data set begins with the shorter one's images.
"""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import qat_artifacts
from qat_data.errors import RequestError
from qat_data.publish import published_folder
from qat_data.shapes import CLASSES, Polygon, outlines, place

_SUPERSAMPLE = 3  # masks are drawn larger and averaged: smooth edges
_MIN_VISIBLE = 0.35  # of its pixels; an object hidden further would be a label that nobody can learn
_CATEGORY_IDS = (1, 2, 3, 5, 7, 8)  # with gaps, as COCO's
_OBJECTS = (2, 6)
_RADIUS = (0.07, 0.24)  # of the longer side

Pixels = NDArray[np.floating]


def _texture(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Smooth colour noise in [0, 1], shape (height, width, 3): coarse grids, enlarged and summed."""
    total = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((2, 0.55), (6, 0.28), (20, 0.17)):
        grid = (rng.random((cells, cells, 3)) * 255).astype(np.uint8)
        enlarged = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += weight * np.asarray(enlarged, np.float32) / 255
    return total


def _mask(outer: Polygon, hole: Polygon | None, height: int, width: int) -> Pixels:
    """Coverage of each pixel in [0, 1], shape (height, width)."""
    large = Image.new("L", (width * _SUPERSAMPLE, height * _SUPERSAMPLE), 0)
    draw = ImageDraw.Draw(large)
    draw.polygon([(x * _SUPERSAMPLE, y * _SUPERSAMPLE) for x, y in outer], fill=255)
    if hole is not None:
        draw.polygon([(x * _SUPERSAMPLE, y * _SUPERSAMPLE) for x, y in hole], fill=0)
    return np.asarray(large.reduce(_SUPERSAMPLE), np.float32) / 255


def _strokes(rng: np.random.Generator, canvas: Pixels) -> Pixels:
    """Lines and dots that belong to no class."""
    height, width, _ = canvas.shape
    image = Image.fromarray((canvas * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 7))):
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        ends = [(float(rng.random() * width), float(rng.random() * height)) for _ in range(2)]
        draw.line(ends, fill=colour, width=int(rng.integers(1, 4)))
    return np.asarray(image, np.float32) / 255


def _draw_image(rng: np.random.Generator, longest: int) -> tuple[Image.Image, list[tuple[int, list[float], float]]]:
    """One image, and (class index, visible box x y w h in pixels, visible area) of each object in it."""
    short = round(longest * float(rng.uniform(0.7, 1.0)))
    height, width = (short, longest) if rng.random() < 0.5 else (longest, short)
    canvas = _strokes(rng, 0.15 + 0.7 * _texture(rng, height, width))
    placed: list[tuple[int, float, Pixels]] = []  # class, area when alone, what is still visible
    for _ in range(int(rng.integers(_OBJECTS[0], _OBJECTS[1] + 1))):
        index = int(rng.integers(len(CLASSES)))
        where = {
            "x": float(rng.uniform(0.05, 0.95) * width),
            "y": float(rng.uniform(0.05, 0.95) * height),
            "radius": longest * _RADIUS[0] * (_RADIUS[1] / _RADIUS[0]) ** float(rng.random()),
            "aspect": float(rng.uniform(0.75, 1.33)),
            "angle": float(rng.uniform(0, 2 * np.pi)),
        }
        outer, hole = outlines(CLASSES[index])
        mask = _mask(place(outer, **where), place(hole, **where) if hole else None, height, width)
        surface = _surface(rng, canvas, mask)
        canvas = canvas + mask[..., None] * (surface - canvas)
        placed = [(i, area, seen * (1 - mask)) for i, area, seen in placed]
        placed.append((index, float(mask.sum()), mask))
    canvas = np.clip(canvas + rng.normal(0, 0.025, canvas.shape).astype(np.float32), 0, 1)
    objects = []
    for index, area, seen in placed:
        rows, columns = np.nonzero(seen > 0.5)
        if len(rows) == 0 or len(rows) < _MIN_VISIBLE * area:
            continue
        left, top = int(columns.min()), int(rows.min())
        box = [float(left), float(top), float(columns.max() + 1 - left), float(rows.max() + 1 - top)]
        objects.append((index, box, float(len(rows))))
    return Image.fromarray((canvas * 255).astype(np.uint8)), objects


def _surface(rng: np.random.Generator, canvas: Pixels, mask: Pixels) -> Pixels:
    """A textured colour that can be told from what lies behind the mask, shape of the canvas."""
    colour = rng.random(3).astype(np.float32)
    behind = canvas[mask > 0.5].mean(axis=0) if (mask > 0.5).any() else canvas.mean(axis=(0, 1))
    if float(np.abs(colour - behind).max()) < 0.25:
        colour = np.where(behind > 0.5, colour * 0.35, 0.65 + colour * 0.35).astype(np.float32)
    height, width, _ = canvas.shape
    surface: Pixels = np.clip(colour + 0.25 * (_texture(rng, height, width) - 0.5), 0, 1)
    return surface


def _draw_split(
    folder: Path, split: str, number: int, *, seed: int, imgsz: int, progress: Callable[[str], None]
) -> None:
    """Images of one split and its annotation file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (folder / f"{split}2017").mkdir(parents=True)
    for i in range(number):
        rng = np.random.default_rng([seed, {"train": 0, "val": 1}[split], i])
        image, objects = _draw_image(rng, imgsz)
        image_id = 3 * i + 1 + i % 2  # ids with gaps
        name = f"{image_id:012d}.jpg"
        encoded = BytesIO()
        image.save(encoded, "JPEG", quality=92, subsampling=0)
        (folder / f"{split}2017" / name).write_bytes(encoded.getvalue())
        images.append({"id": image_id, "file_name": name, "width": image.width, "height": image.height})
        for index, box, area in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": _CATEGORY_IDS[index],
                    "bbox": box,
                    "area": area,
                    "iscrowd": 0,
                }
            )
        if (i + 1) % 100 == 0 or i + 1 == number:
            progress(f"{split}: {i + 1} of {number} images drawn")
    content = {
        "info": {"description": f"qat-data synth --seed {seed} --imgsz {imgsz}", "version": "1"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": c, "name": n} for c, n in zip(_CATEGORY_IDS, CLASSES, strict=True)],
    }
    qat_artifacts.write_text(folder / "annotations" / f"instances_{split}2017.json", json.dumps(content) + "\n")


def synthesize(
    out: Path,
    *,
    train_images: int,
    val_images: int,
    seed: int = 0,
    imgsz: int = 160,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Draw a COCO-layout data set into the new folder `out`, whole or not at all.

    Args:
        out: the new COCO root: annotations/, train2017/, val2017/.
        train_images: at least 1.
        val_images: at least 1.
        seed: images depend on it; at least 0.
        imgsz: longer side of every image in pixels, at least 32; the shorter one is 0.7 to 1 of it.
        progress: called with a line now and then.

    Returns:
        `out`.

    Raises:
        RequestError: `out` exists and is not empty, or a number is out of range.
    """
    for name, value, least in (
        ("train", train_images, 1),
        ("val", val_images, 1),
        ("seed", seed, 0),
        ("imgsz", imgsz, 32),
    ):
        if value < least:
            raise RequestError(f"{name} must be at least {least}, found {value}")
    with published_folder(out) as folder:
        _draw_split(folder, "train", train_images, seed=seed, imgsz=imgsz, progress=progress)
        _draw_split(folder, "val", val_images, seed=seed, imgsz=imgsz, progress=progress)
    return out
