"""Inputs of the groups, made once in the work folder and kept: a name says what and how large."""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from qat_ladder.bench.case import Setup
from qat_ladder.launch import call


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """`path`, which `make` writes under another name first: what was cut off is made again."""
    if not path.exists():
        part = path.with_name(f"{path.name}.part")
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
        make(part)
        part.rename(path)
    return path


def annotations(setup: Setup, images: int) -> Path:
    """A COCO root with annotation files alone, of COCO's shape."""
    val = max(10, images * 5000 // 118_287)

    def write(out: Path) -> None:
        setup.tell(f"drawing annotations of {images} images")
        numbers = ("--images", str(images), "--val-images", str(val))
        call("qat-data", "synth", "--annotations-only", "--out", out, *numbers)

    return made_once(setup.work / f"annotations-{images}", write)


def images(setup: Setup, number: int) -> Path:
    """A COCO root with image files: copies of COCO128's where they are, else of drawn ones."""
    real = setup.data / "data" / "coco128" if setup.data else None
    source = real if real and real.is_dir() else drawn(setup)
    content = json.loads((source / "annotations" / "instances_train2017.json").read_bytes())

    def write(root: Path) -> None:
        setup.tell(f"copying {number} images")
        copies(source, content, root, number)

    return made_once(setup.work / f"images-{number}", write)


def drawn(setup: Setup) -> Path:
    """A small drawn data set."""
    return made_once(
        setup.work / "drawn",
        lambda out: call("qat-data", "synth", "--out", out, "--images", "64", "--imgsz", "640"),
    )


def copies(source: Path, content: dict[str, Any], root: Path, number: int) -> None:
    """Write a COCO root whose splits hold `number` images and one: those of `source` again and again."""
    by_image: dict[int, list[dict[str, Any]]] = {}
    for entry in content["annotations"]:
        by_image.setdefault(entry["image_id"], []).append(entry)
    known = [image for image in content["images"] if by_image.get(image["id"])]
    (root / "annotations").mkdir(parents=True)
    for split, size in (("train", number), ("val", 1)):
        (root / f"{split}2017").mkdir()
        listed, found = [], []
        for i in range(size):
            image = known[i % len(known)]
            name = f"{i + 1:012d}.jpg"
            shutil.copyfile(source / "train2017" / image["file_name"], root / f"{split}2017" / name)
            listed.append(image | {"id": i + 1, "file_name": name})
            found += [
                {k: a[k] for k in ("bbox", "area", "category_id", "iscrowd")} | {"image_id": i + 1}
                for a in by_image[image["id"]]
            ]
        numbered = [entry | {"id": place} for place, entry in enumerate(found, 1)]
        text = json.dumps({"images": listed, "annotations": numbered, "categories": content["categories"]})
        (root / "annotations" / f"instances_{split}2017.json").write_text(text, encoding="utf-8")


def emptied(path: Path) -> Callable[[], None]:
    """What a contestant calls before each run: its output of the last is removed, and all that waits is on the disk."""

    def empty() -> None:
        shutil.rmtree(path, ignore_errors=True)
        os.sync()  # else what the run before has written and removed is a part of this one's time

    return empty


def sizes(setup: Setup, full: Iterable[int]) -> list[int]:
    """Full sizes under `part`, each once."""
    return sorted({setup.scaled(size) for size in full})
