"""Objects that two models found in one image, and which of them are the same."""

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor
from torchvision.ops import box_iou

SAME = 0.5  # intersection over union from which on two boxes of one class are one object: COCO's loosest


@attrs.frozen(kw_only=True)
class FoundObject:
    """One object: `box` is (left, top, right, bottom) in pixels of the image, `score` in [0, 1]."""

    name: str
    score: float
    box: tuple[float, ...]


@attrs.frozen(kw_only=True)
class Match:
    """One object that both models found, by its places in their lists; `iou` of the two boxes, in [0.5, 1]."""

    fp32: int
    int4: int
    iou: float


@attrs.frozen(kw_only=True)
class Pairing:
    """How the objects of two models pair; every object of both lists is in one of the three, by its place."""

    matched: tuple[Match, ...]
    only_fp32: tuple[int, ...]
    only_int4: tuple[int, ...]


def found_objects(rows: Tensor, names: Sequence[str]) -> tuple[FoundObject, ...]:
    """The objects of a selection, best first as it is.

    Args:
        rows: (detections, 6): left, top, right, bottom in pixels, score, class.
        names: of the classes, by index.
    """
    return tuple(
        FoundObject(name=names[int(kind)], score=score, box=tuple(box)) for *box, score, kind in rows.double().tolist()
    )


def pair_objects(fp32: Sequence[FoundObject], int4: Sequence[FoundObject]) -> Pairing:
    """Pair objects of one class whose boxes overlap by `SAME` or more, each at most once, the closest pairs first.

    Of pairs that overlap alike, those of the higher FP32 score come first, then of the higher INT4 score: lists are
    expected best first.
    """
    overlap = box_iou(_boxes(fp32), _boxes(int4)).tolist()
    candidates = sorted(
        (-overlap[i][j], i, j)
        for i, one in enumerate(fp32)
        for j, other in enumerate(int4)
        if one.name == other.name and overlap[i][j] >= SAME
    )
    matched: list[Match] = []
    left, right = set(range(len(fp32))), set(range(len(int4)))
    for negative, i, j in candidates:
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            matched.append(Match(fp32=i, int4=j, iou=-negative))
    matched.sort(key=lambda match: match.fp32)
    return Pairing(matched=tuple(matched), only_fp32=tuple(sorted(left)), only_int4=tuple(sorted(right)))


def _boxes(objects: Sequence[FoundObject]) -> Tensor:
    return torch.tensor([found.box for found in objects], dtype=torch.float64).reshape(-1, 4)
