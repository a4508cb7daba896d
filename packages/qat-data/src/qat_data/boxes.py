"""One box at a time: as a YOLO label and as an evaluation counts it, or the reason why it is neither."""

import sys
from collections.abc import Sequence
from math import isfinite
from typing import Literal

import attrs

Reason = Literal["crowd", "zero_area", "outside", "not_finite"]


@attrs.frozen
class Label:
    """One line of a YOLO label file: class index, and centre and size as fractions of the image in [0, 1]."""

    index: int
    x: float
    y: float
    width: float
    height: float
    clipped: bool = attrs.field(default=False, eq=False)

    def line(self) -> str:
        """`index x y width height`, seven significant digits: 1e-4 of a pixel at 1000 pixels."""
        return f"{self.index} {self.x:.7g} {self.y:.7g} {self.width:.7g} {self.height:.7g}"


def to_label(index: int, box: Sequence[float], width: float, height: float) -> Label | Reason:
    """Clip a box (left, top, width, height) to the image and normalise it.

    The image is 1 x 1 for boxes that are fractions already. A box over the edge is clipped, never the whole image
    dropped, as Ultralytics does from one per cent on.
    """
    left, top, wide, high = box
    right, bottom = left + wide, top + high
    if left >= 0 and top >= 0 and right <= width and bottom <= height:  # as most boxes lie, and as no NaN does
        across, down = (right - left) / width, (bottom - top) / height
        if across > 0 and down > 0:
            return Label(index, (left + right) / 2 / width, (top + bottom) / 2 / height, across, down)
    if not (isfinite(left) and isfinite(top) and isfinite(wide) and isfinite(high)):
        return "not_finite"
    if wide <= 0 or high <= 0:
        return "zero_area"
    x1, y1 = max(left, 0.0), max(top, 0.0)
    x2, y2 = min(right, width), min(bottom, height)
    if x2 <= x1 or y2 <= y1:
        return "outside"
    if (x2 - x1) / width == 0 or (y2 - y1) / height == 0:  # a side so small that its fraction underflows
        return "zero_area"
    tolerance = 1e-6 * max(width, height)  # the files round to a few decimals
    moved = max(x1 - left, y1 - top, right - x2, bottom - y2)
    return Label(
        index,
        (x1 + x2) / 2 / width,
        (y1 + y2) / 2 / height,
        (x2 - x1) / width,
        (y2 - y1) / height,
        clipped=moved > tolerance,
    )


FARTHEST = 1e5  # pixels; the evaluators leave out, in silence, an object of more than 1e5 squared


@attrs.frozen
class TruthBox:
    """One object as an evaluation counts it: left, top, width, height in pixels as annotated, not clipped.

    `area` in square pixels decides the object's size class; in COCO it is that of the mask. Detections that lie in a
    crowd are not counted.
    """

    category_id: int
    box: tuple[float, float, float, float]
    area: float
    crowd: bool = False


def box_fault(box: Sequence[float]) -> str | None:
    """Why a box (left, top, width, height) has no intersection over union with others; None where it has.

    Evaluators answer all the same. A side of 0 is no fault: such a box overlaps nothing, and COCO counts it.
    """
    _, _, wide, high = box
    if not all(map(isfinite, box)):
        return "is not finite"
    if wide < 0 or high < 0:
        return "has a negative size"
    if max(abs(v) for v in box) > FARTHEST:
        return f"reaches beyond {FARTHEST:.0e} pixels"
    if wide and high and wide * high < sys.float_info.min:
        return "has an area that underflows"  # 0 / 0 as its overlap, which passes every threshold
    return None


def to_truth(category_id: int, box: Sequence[float], area: float | None, *, crowd: bool) -> TruthBox | None:
    """An annotated box as it is counted, or None where `box_fault` finds one; without an area, that of the box."""
    if box_fault(box):
        return None
    left, top, wide, high = box
    if area is None or not 0 <= area <= FARTHEST**2:  # nan too
        area = wide * high
    return TruthBox(category_id, (left, top, wide, high), area, crowd)
