"""A small COCO root with every blemish that real files have, made in a temporary folder."""

import copy
import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image


def make_images(folder: Path, names, size=(40, 30)):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", size, ((37 * i) % 256, 80, 120)).save(folder / name, "JPEG")


def annotations(ids, boxes=((4.0, 5.0, 10.0, 8.0),)):
    images = [{"id": i, "file_name": f"{i:06d}.jpg", "width": 40, "height": 30} for i in ids]
    found = [
        {"id": n + 1, "image_id": i, "category_id": 7, "bbox": list(box), "area": 80.0, "iscrowd": 0}
        for n, (i, box) in enumerate((i, box) for i in ids for box in boxes)
    ]
    return {
        "images": images,
        "annotations": found,
        "categories": [{"id": 7, "name": "cat"}, {"id": 90, "name": "dog"}],
    }


TRAIN_IDS = (3, 11, 12, 40, 41, 77, 100, 2000)
VAL_IDS = (5, 9, 301)


class CocoRoot:
    """A COCO root whose annotations can be edited before they are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = {"train": annotations(TRAIN_IDS), "val": annotations(VAL_IDS)}
        for split, content in self.content.items():
            make_images(path / f"{split}2017", [i["file_name"] for i in content["images"]])
        self.save()

    def save(self):
        (self.path / "annotations").mkdir(exist_ok=True)
        for split, content in self.content.items():
            (self.path / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))

    def add_box(self, box, *, split="train", image=3, **keys):
        entries = self.content[split]["annotations"]
        entry = copy.deepcopy(entries[0]) | {"id": len(entries) + 1, "image_id": image, "bbox": box} | keys
        entries.append(entry)
        self.save()


@pytest.fixture
def coco(tmp_path):
    return CocoRoot(tmp_path / "coco")


def tree_hash(folder: Path) -> str:
    """One hash over names, modes, times and bytes of everything below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        digest.update(f"{path.relative_to(folder)} {about.st_mode} {about.st_mtime_ns}\n".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()
