"""A small COCO root with every blemish that real files have, made in a temporary folder; real data where they are."""

import copy
import hashlib
import importlib.metadata
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qat_data import CocoLayout, Request, prepare, read_coco, read_truth


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


@pytest.fixture(scope="session")
def real_data():
    """Folder of real COCO roots; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("QAT_TEST_DATA", Path(__file__).resolve().parents[4] / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no data in {folder}; set QAT_TEST_DATA")
    return folder


EVALUATORS = ("pycocotools", "faster-coco-eval")


def _installed(name):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed: qat-data[fast]")
    return name


@pytest.fixture(params=EVALUATORS)
def evaluator(request):
    return _installed(request.param)


@pytest.fixture(scope="session")
def both():
    return tuple(map(_installed, EVALUATORS))


def excerpt(content, most=128):
    """The last images of an annotation file: of bccd, those with boxes without area are among them."""
    images = content["images"][-most:]
    kept = {i["id"] for i in images}
    return content | {"images": images, "annotations": [a for a in content["annotations"] if a["image_id"] in kept]}


def derived_detections(content, seed=0, per_image=3):
    """Detections as a mediocre model gives them, from annotations: some missed, moved, doubled, of another class, and
    false ones. Scores have two digits, so that many are equal."""
    rng = np.random.default_rng(seed)
    classes = [c["id"] for c in content["categories"]]
    found = []

    def add(image_id, category_id, box):
        box = [float(v) for v in (*box[:2], *np.maximum(box[2:], 0))]
        score = round(float(rng.random()), 2)
        found.append({"image_id": image_id, "category_id": category_id, "bbox": box, "score": score})

    for a in content["annotations"]:
        box = np.array(a["bbox"])
        for _ in range(int(rng.choice([0, 1, 1, 1, 2]))):
            category = a["category_id"] if rng.random() < 0.9 else int(rng.choice(classes))
            add(a["image_id"], category, box + rng.normal(0, 0.08, 4) * np.tile(box[2:], 2))
    for image in content["images"]:
        for _ in range(int(rng.poisson(per_image))):
            add(image["id"], int(rng.choice(classes)), rng.random(4) * 200)
    return found


def prepared_truth(coco, out, **request):
    """The val split of a CocoRoot, saved and prepared into `out`."""
    coco.save()
    prepare(read_coco(CocoLayout(root=coco.path)), out, Request(**request))
    return read_truth(out)


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def results(*entries):
    """COCO results of (image, category, box, score)."""
    return [{"image_id": i, "category_id": c, "bbox": box, "score": score} for i, c, box, score in entries]
