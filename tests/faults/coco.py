"""A small COCO root whose annotations a test may spoil before they are read."""

import hashlib
import json

from PIL import Image

from .commands import call


class CocoRoot:
    """Four training images (ids 3, 11, 40, 77) and two of validation (5, 9), 40 x 30, a box each; ids with gaps."""

    def __init__(self, path):
        self.path = path
        self.content = {"train": _annotations((3, 11, 40, 77)), "val": _annotations((5, 9))}
        for split, content in self.content.items():
            (path / f"{split}2017").mkdir(parents=True)
            for entry in content["images"]:
                colour = ((37 * entry["id"]) % 256, 80, 120)
                Image.new("RGB", (40, 30), colour).save(path / f"{split}2017" / entry["file_name"], "JPEG")
        self.save()

    def save(self):
        (self.path / "annotations").mkdir(exist_ok=True)
        for split, content in self.content.items():
            self.file(split).write_text(json.dumps(content))

    def file(self, split="train"):
        return self.path / "annotations" / f"instances_{split}2017.json"

    def image(self, number, split="train"):
        return self.path / f"{split}2017" / f"{number:06d}.jpg"

    def prepare(self, out, *more):
        """`qat-data prepare` of what the files now hold, into `out`."""
        return call("qat-data", "prepare", "--coco-root", self.path, "--out", out, *more)


def _annotations(ids):
    images = [{"id": i, "file_name": f"{i:06d}.jpg", "width": 40, "height": 30} for i in ids]
    boxes = [
        {"id": n, "image_id": i, "category_id": 7, "bbox": [4.0, 5.0, 20.0, 15.0], "area": 300.0, "iscrowd": 0}
        for n, i in enumerate(ids, start=1)
    ]
    return {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 7, "name": "cat"}, {"id": 90, "name": "dog"}],
    }


def tree_hash(folder):
    """One hash over names, modes, times and bytes of everything below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        digest.update(f"{path.relative_to(folder)} {about.st_mode} {about.st_mtime_ns}\n".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()
