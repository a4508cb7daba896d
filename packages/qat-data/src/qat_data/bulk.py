"""Annotation files of COCO's shape and of any size, without images: to see what data of that size takes.

At 118,287 images they have the counts of instances_train2017.json: 860,001 annotations, about 500 MB. Annotations are
those of boxes drawn at random, with polygons around them, in an order of their own; one in a hundred is a crowd with a
run-length mask. Values are uniform or log-normal, not COCO's; only size and shape are alike.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qat_data.errors import RequestError
from qat_data.publish import published_folder

IMAGES, ANNOTATIONS = 118_287, 860_001  # of instances_train2017.json
_IDS = [i for i in range(1, 91) if i not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}]  # COCO's 80, with its gaps
_SIZES = np.array([(640, 480), (480, 640), (640, 427), (500, 375), (427, 640)])  # width, height in pixels
_POINTS = 32  # of a polygon, in the mean
_CROWDS = 0.012
_AT_ONCE = 5000  # annotations in memory


def write_annotations(
    out: Path,
    *,
    train_images: int,
    val_images: int,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write annotations/instances_{train,val}2017.json into the new folder `out`, whole or not at all.

    The same bytes for the same arguments; memory does not grow with the polygons.

    Args:
        out: the new COCO root, without images.
        train_images: at least 1; 118,287 for COCO's size.
        val_images: at least 1; 5,000 for COCO's size.
        seed: at least 0.
        progress: called with a line now and then.

    Returns:
        `out`.

    Raises:
        RequestError: `out` exists and is not empty, or a number is out of range.
    """
    for name, value, least in (("train", train_images, 1), ("val", val_images, 1), ("seed", seed, 0)):
        if value < least:
            raise RequestError(f"{name} must be at least {least}, found {value}")
    with published_folder(out) as folder:
        (folder / "annotations").mkdir()
        for number, (split, images) in enumerate((("train", train_images), ("val", val_images))):
            rng = np.random.default_rng([seed, number])
            path = folder / "annotations" / f"instances_{split}2017.json"
            annotations = max(1, round(images * ANNOTATIONS / IMAGES))
            progress(f"{split}: {images} images, {annotations} annotations")
            _write(path, rng, images, annotations, progress)
    return out


def _write(
    path: Path, rng: np.random.Generator, images: int, annotations: int, progress: Callable[[str], None]
) -> None:
    encode = msgspec.json.encode
    ids = np.cumsum(rng.integers(1, 9, images))  # with gaps
    sizes = _SIZES[rng.integers(len(_SIZES), size=images)]
    with path.open("wb") as stream:
        stream.write(b'{"info": {"description": "drawn at random, no images"}, "licenses": [], "images": [')
        for start in range(0, images, _AT_ONCE):
            some = zip(ids[start : start + _AT_ONCE].tolist(), sizes[start : start + _AT_ONCE].tolist(), strict=True)
            stream.write(b", " if start else b"")
            stream.write(b", ".join(encode(_image(image_id, *size)) for image_id, size in some))
        stream.write(b'], "annotations": [')
        # Objects an image: few in most, many in some.
        owners = rng.permutation(np.repeat(np.arange(images), _shares(rng, images, annotations)))
        for start in range(0, annotations, _AT_ONCE):
            mine = owners[start : start + _AT_ONCE]
            stream.write(b", " if start else b"")
            stream.write(b", ".join(map(encode, _annotations(rng, start + 1, ids[mine], sizes[mine]))))
            if start // _AT_ONCE % 20 == 0:
                progress(f"{start + len(mine)} of {annotations} annotations written")
        categories = [{"supercategory": "thing", "id": i, "name": f"category {i}"} for i in _IDS]
        stream.write(b'], "categories": ' + encode(categories) + b"}\n")


def _shares(rng: np.random.Generator, images: int, annotations: int) -> NDArray[np.int64]:
    """How many annotations each image has; they sum to `annotations`."""
    weights = rng.gamma(1.1, size=images)
    return rng.multinomial(annotations, weights / weights.sum())


def _image(image_id: int, width: int, height: int) -> dict[str, Any]:
    name = f"{image_id:012d}.jpg"
    return {
        "license": 1,
        "file_name": name,
        "coco_url": f"https://images.example/train2017/{name}",
        "height": height,
        "width": width,
        "date_captured": "2013-11-14 17:02:52",
        "flickr_url": f"https://photos.example/1234/{image_id:010d}_0123456789_z.jpg",
        "id": image_id,
    }


def _annotations(
    rng: np.random.Generator, first: int, image_ids: NDArray[np.int64], sizes: NDArray[np.int64]
) -> Iterator[dict[str, Any]]:
    """Annotations of some images, one each; ids count from `first`."""
    number = len(image_ids)
    sides = np.clip(rng.lognormal(-1.6, 0.9, (number, 2)), 0.005, 1)  # of the image
    corners = rng.random((number, 2)) * (1 - sides)
    boxes = np.round(np.hstack([corners * sizes, sides * sizes]), 2)
    counts = np.clip(rng.lognormal(math.log(_POINTS) - 0.18, 0.6, number), 3, 400).astype(int)
    angles = rng.random(int(counts.sum())) * 2 * np.pi
    ends = np.cumsum(counts)
    # Points on the ellipse within each box.
    middle, half = boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:] / 2
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.round(np.repeat(middle, counts, axis=0) + around * np.repeat(half, counts, axis=0), 2)
    crowds = rng.random(number) < _CROWDS
    categories = np.minimum(rng.zipf(1.35, number) - 1, len(_IDS) - 1)
    areas = np.round(boxes[:, 2] * boxes[:, 3] * np.pi / 4, 4)
    for i in range(number):
        outline = points[ends[i] - counts[i] : ends[i]].ravel().tolist()
        mask = {"counts": [round(value) for value in outline], "size": sizes[i][::-1].tolist()}
        yield {
            "segmentation": mask if crowds[i] else [outline],
            "area": float(areas[i]),
            "iscrowd": int(crowds[i]),
            "image_id": int(image_ids[i]),
            "bbox": boxes[i].tolist(),
            "category_id": _IDS[categories[i]],
            "id": first + i,
        }
