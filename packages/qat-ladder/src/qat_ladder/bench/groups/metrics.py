"""COCO's metrics at the size of val2017."""

import json
import random
from pathlib import Path

from qat_ladder.bench import peers
from qat_ladder.bench.case import Case, Contestant, Group, Setup, Target, python
from qat_ladder.bench.inputs import annotations, made_once

_FULL = 118_287  # training images of an annotation file whose val split has 5,000, as val2017
_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def _detect(truth: Path, out: Path, *, per_image: int = 50, seed: int = 0) -> None:
    """Detections of a mediocre model: objects moved a little, and false ones, up to `per_image` in each image."""
    rng = random.Random(seed)  # noqa: S311  # no secret
    content = json.loads(truth.read_bytes())
    classes = [c["id"] for c in content["categories"]]
    found: dict[int, list[dict[str, object]]] = {image["id"]: [] for image in content["images"]}

    def add(image: int, category: int, box: list[float]) -> None:
        entry = {"image_id": image, "category_id": category, "bbox": box, "score": round(rng.random(), 4)}
        found[image].append(entry)

    for entry in content["annotations"]:
        left, top, width, height = entry["bbox"]
        moved = [left + rng.gauss(0, 0.08) * width, top + rng.gauss(0, 0.08) * height]
        sides = [width * rng.uniform(0.85, 1.15), height * rng.uniform(0.85, 1.15)]
        add(entry["image_id"], entry["category_id"], [round(v, 3) for v in (*moved, *sides)])
    for image, entries in found.items():
        for _ in range(per_image - len(entries)):
            add(image, rng.choice(classes), [round(rng.random() * 300, 3) for _ in range(4)])
    out.write_text(json.dumps([entry for entries in found.values() for entry in entries]), encoding="utf-8")


def _cases(setup: Setup) -> list[Case]:
    images = setup.scaled(_FULL)
    truth = annotations(setup, images) / "annotations" / "instances_val2017.json"
    found = made_once(setup.work / f"detections-{images}.json", lambda out: _detect(truth, out))

    def one(name: str, program: str, *needs: str) -> Contestant:
        return Contestant(name=name, command=python("-c", program, truth, found), needs=needs)

    return [
        Case(
            name="coco",
            title="Box metrics",
            about="50 detections an image. Reading both files is in it, and for ours checking each box as well. Ours "
            "leaves the matching to faster-coco-eval where it is installed; the numbers are those of pycocotools to "
            "nine digits.",
            reference="pycocotools",
            rounds=2,
            contestants=(
                one("pycocotools", peers.EVALUATE_PYCOCOTOOLS),
                one("qat-data", peers.EVALUATE_OURS, "faster_coco_eval"),
                one("faster-coco-eval", peers.EVALUATE_FASTER, "faster_coco_eval"),
                one("hotcoco", peers.EVALUATE_HOTCOCO, "hotcoco"),
            ),
            targets=(Target(contestant="qat-data", to="pycocotools", at_most=1 / 5),),
            equal=_NUMBERS,
        )
    ]


GROUP = Group(
    name="metrics",
    title="COCO metrics",
    about="5,000 images with about 36,000 objects, as val2017, and 250,000 detections.",
    cases=_cases,
)
