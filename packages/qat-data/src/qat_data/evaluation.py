"""coco_eval.json: what a file of detections is worth, and what was counted by which evaluator."""

from typing import ClassVar, Literal

import attrs
from attrs import validators

_count = validators.ge(0)
_fraction = validators.and_(validators.ge(0.0), validators.le(1.0))
_optional_fraction = validators.optional(_fraction)


@attrs.frozen(kw_only=True)
class Evaluator:
    """The program that matched boxes. `max_detections` an image and class are kept, by score."""

    name: Literal["pycocotools", "faster-coco-eval"]
    version: str
    iou_thresholds: tuple[float, ...]
    max_detections: tuple[int, ...]


@attrs.frozen(kw_only=True)
class PreparedSet:
    """The prepared data set whose val split was counted."""

    name: str
    fingerprint: str


@attrs.frozen(kw_only=True)
class TruthCounts:
    """The annotation file: `boxes` have to be found, `zero_area` of them cannot be; crowds have not.

    `unusable` boxes are not finite, negative or beyond a double's range, and were left out.
    """

    sha256: str
    images: int = attrs.field(validator=validators.ge(1))
    boxes: int = attrs.field(validator=validators.ge(1))
    zero_area: int = attrs.field(validator=_count)
    crowds: int = attrs.field(validator=_count)
    unusable: int = attrs.field(validator=_count)


@attrs.frozen(kw_only=True)
class DetectionCounts:
    """The file of detections. `surplus` of them come after the most that are kept of their image and class."""

    sha256: str
    number: int = attrs.field(validator=_count)
    images: int = attrs.field(validator=_count)
    surplus: int = attrs.field(validator=_count)


@attrs.frozen(kw_only=True)
class Metrics:
    """COCO's twelve numbers, each in [0, 1]; null where there is no box of that size.

    `map` is the mean over classes of the average precision, at IoU 0.5 to 0.95 or at one IoU in per cent; `ar` the mean
    recall with so many detections an image and class at most. A small object has an area of 32 x 32 pixels at most, a
    large one of 96 x 96 at least.
    """

    map50_95: float = attrs.field(validator=_fraction)
    map50: float = attrs.field(validator=_fraction)
    map75: float = attrs.field(validator=_fraction)
    map_small: float | None = attrs.field(validator=_optional_fraction)
    map_medium: float | None = attrs.field(validator=_optional_fraction)
    map_large: float | None = attrs.field(validator=_optional_fraction)
    ar1: float = attrs.field(validator=_fraction)
    ar10: float = attrs.field(validator=_fraction)
    ar100: float = attrs.field(validator=_fraction)
    ar_small: float | None = attrs.field(validator=_optional_fraction)
    ar_medium: float | None = attrs.field(validator=_optional_fraction)
    ar_large: float | None = attrs.field(validator=_optional_fraction)


@attrs.frozen(kw_only=True)
class ClassMetrics:
    """One class: average precision at IoU 0.5 to 0.95 and at 0.5, null where no box of it has to be found.

    `images` hold at least one of its `boxes`.
    """

    index: int = attrs.field(validator=_count)
    name: str
    category_id: int
    ap: float | None = attrs.field(validator=_optional_fraction)
    ap50: float | None = attrs.field(validator=_optional_fraction)
    images: int = attrs.field(validator=_count)
    boxes: int = attrs.field(validator=_count)
    detections: int = attrs.field(validator=_count)


@attrs.frozen(kw_only=True)
class Evaluation:
    """The artifact qat-data/evaluation. `dataset` is null where an annotation file was named instead."""

    SCHEMA: ClassVar[str] = "qat-data/evaluation"
    VERSION: ClassVar[str] = "1.0"

    dataset: PreparedSet | None
    evaluator: Evaluator
    truth: TruthCounts
    detections: DetectionCounts
    metrics: Metrics
    classes: tuple[ClassMetrics, ...] = attrs.field(validator=validators.min_len(1))
    notes: tuple[str, ...] = ()
