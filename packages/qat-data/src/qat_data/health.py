"""What is no fault but worth a look before hours of training: rare classes, boxes drawn twice, slivers.

The thresholds are those of hotcoco's healthcheck, so that its users find the same: 10 boxes of a class, an overlap of
0.95, sides of 20 to 1.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from qat_data.boxes import Label
from qat_data.records import Class
from qat_data.sources import SourceImage

FEW = 10  # boxes of a class
SAME = 0.95  # intersection over union of two boxes of one class in one image
SLIVER = 20  # the longer side over the shorter one, in pixels
_SHOWN = 10


def warnings(split: str, images: Sequence[SourceImage], classes: Sequence[Class]) -> tuple[str, ...]:
    """Sentences about the labels of a split, each with the first images or classes; none where all is well.

    Sizes of images are those that the annotation file states; without one, shapes are taken as on a square image.
    """
    found = []
    number = Counter(label.index for image in images for label in image.labels)
    absent = [c.name for c in classes if number[c.index] == 0]
    few = [f"{c.name} {number[c.index]}" for c in classes if 0 < number[c.index] < FEW]
    if absent:
        found.append(f"{len(absent)} of {len(classes)} classes have no box: {_shown(absent)}")
    if few:
        found.append(f"{len(few)} of {len(classes)} classes have fewer than {FEW} boxes: {_shown(few)}")
    if len(number) > 1 and max(number.values()) >= SLIVER * min(number.values()):
        most, least = (pick(number, key=lambda index: number[index]) for pick in (max, min))
        names = {c.index: c.name for c in classes}
        times = number[most] / number[least]
        found.append(f"{names[most]} has {times:.0f} times as many boxes as {names[least]}")
    for text, hits in (
        (f"boxes overlap another of their class by more than {SAME}", _each(images, near_duplicates)),
        (f"boxes are longer than {SLIVER} times their width", _each(images, _slivers)),
        ("boxes state an area of 0", [(image.file_name, image.flat) for image in images if image.flat]),
    ):
        if hits:
            found.append(f"{sum(count for _, count in hits)} {text}, in {_shown([name for name, _ in hits])}")
    return tuple(f"{split}: {text}" for text in found)


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _each(images: Iterable[SourceImage], count: Callable[[SourceImage], int]) -> list[tuple[str, int]]:
    return [(image.file_name, hits) for image in images if (hits := count(image))]


def _slivers(image: SourceImage) -> int:
    width, height = image.size or (1, 1)
    sides = [(label.width * width, label.height * height) for label in image.labels]
    return sum(max(wide, high) > SLIVER * min(wide, high) for wide, high in sides)


def near_duplicates(image: SourceImage) -> int:
    """Boxes of an image that overlap another one of their class by more than `SAME`."""
    by_class: dict[int, list[Label]] = defaultdict(list)
    for label in image.labels:
        by_class[label.index].append(label)
    return sum(_overlapping(labels) for labels in by_class.values() if len(labels) > 1)


def _overlapping(labels: list[Label]) -> int:
    """By the left edge: of two such boxes, the second begins within a twentieth of the first one's width."""
    edges = sorted(
        (box.x - box.width / 2, box.y - box.height / 2, box.x + box.width / 2, box.y + box.height / 2) for box in labels
    )
    hit = set()
    for i, first in enumerate(edges):
        for j in range(i + 1, len(edges)):
            second = edges[j]
            if second[0] > first[0] + (1 - SAME) * (first[2] - first[0]):
                break
            if _overlap(first, second) > SAME:
                hit |= {i, j}
    return len(hit)


def _overlap(one: Sequence[float], two: Sequence[float]) -> float:
    """Intersection over union of two boxes: left, top, right, bottom."""
    wide, high = min(one[2], two[2]) - max(one[0], two[0]), min(one[3], two[3]) - max(one[1], two[1])
    if wide <= 0 or high <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return wide * high / (sum(areas) - wide * high)
