"""From detections to COCO's metrics, over all classes and for each."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qat_data.detections import Detections
from qat_data.evaluation import (
    ClassMetrics,
    DetectionCounts,
    Evaluation,
    Evaluator,
    Metrics,
    TruthCounts,
)
from qat_data.matching import Curves, choose_evaluator, match
from qat_data.truth import GroundTruth

TOLD_FROM = 10_000  # detections; fewer take seconds with either evaluator


def _mean(values: NDArray[np.float64]) -> float | None:
    """Mean over what is defined, as COCOeval.summarize takes it; None where nothing is."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def _metrics(curves: Curves) -> Metrics:
    overall = curves.areas.index("all")
    at = {round(100 * threshold): row for row, threshold in enumerate(curves.iou_thresholds)}

    def precision(rows: slice | int = slice(None), area: int = overall) -> float | None:
        return _mean(curves.precision[rows, :, :, area, -1])

    def recall(limit: int = -1, area: int = overall) -> float | None:
        return _mean(curves.recall[:, :, area, limit])

    sizes = {size: curves.areas.index(size) for size in ("small", "medium", "large")}
    found: dict[str, Any] = {
        "map50_95": precision(),
        "map50": precision(at[50]),
        "map75": precision(at[75]),
        **{f"map_{size}": precision(area=area) for size, area in sizes.items()},
        **{f"ar{limit}": recall(column) for column, limit in enumerate(curves.max_detections)},
        **{f"ar_{size}": recall(area=area) for size, area in sizes.items()},
    }
    return Metrics(**found)


def _classes(curves: Curves, truth: GroundTruth, detections: Detections) -> tuple[ClassMetrics, ...]:
    half = curves.iou_thresholds.index(0.5)
    overall = curves.areas.index("all")
    boxes = Counter(b.category_id for found in truth.images.values() for b in found if not b.crowd)
    images = Counter(c for found in truth.images.values() for c in {b.category_id for b in found if not b.crowd})
    number = Counter(d.category_id for d in detections.entries)
    found = []
    for index, (category_id, name) in enumerate(truth.categories.items()):  # in the order of the ids, as the curves
        precision = curves.precision[:, :, index, overall, -1]
        found.append(
            ClassMetrics(
                index=index,
                name=name,
                category_id=category_id,
                ap=_mean(precision),
                ap50=_mean(precision[half]),
                images=images[category_id],
                boxes=boxes[category_id],
                detections=number[category_id],
            )
        )
    return tuple(found)


def _count_truth(truth: GroundTruth) -> TruthCounts:
    objects = [box for found in truth.images.values() for box in found]
    to_find = [b for b in objects if not b.crowd]
    return TruthCounts(
        sha256=truth.sha256,
        images=len(truth.images),
        boxes=len(to_find),
        zero_area=sum(b.box[2] == 0 or b.box[3] == 0 for b in to_find),
        crowds=len(objects) - len(to_find),
        unusable=truth.unusable,
    )


def _count_detections(detections: Detections, limit: int) -> DetectionCounts:
    groups = Counter((d.image_id, d.category_id) for d in detections.entries)
    return DetectionCounts(
        sha256=detections.sha256,
        number=len(detections.entries),
        images=len({d.image_id for d in detections.entries}),
        surplus=sum(max(0, number - limit) for number in groups.values()),
    )


def evaluate(
    truth: GroundTruth,
    detections: Detections,
    *,
    evaluator: str = "auto",
    progress: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """COCO's box metrics of `detections`, as `COCOeval` computes them for iouType "bbox".

    The order of the file matters only between detections of one score in one image and class: the earlier one is
    matched first, as in the reference. Both evaluators give the same numbers up to rounding in the last bit.

    Args:
        truth: of `read_truth` or `read_annotations`.
        detections: of `read_detections`, checked against the same `truth`; may be empty.
        evaluator: "auto" (the faster one where it is installed), "pycocotools" or "faster-coco-eval".
        progress: called with a line where there are `TOLD_FROM` detections or more.

    Raises:
        MissingPackage: the evaluator asked for is not installed.
        RequestError: no such evaluator.
    """
    choice = choose_evaluator(evaluator)
    if len(detections.entries) >= TOLD_FROM:
        number, name = len(detections.entries), f"{choice.name} {choice.version}"
        progress(f"{number} detections in {len(truth.images)} images are being matched by {name}")
    curves = match(choice.name, truth, detections)
    return Evaluation(
        dataset=truth.dataset,
        evaluator=Evaluator(
            name=choice.name,
            version=choice.version,
            iou_thresholds=curves.iou_thresholds,
            max_detections=curves.max_detections,
        ),
        truth=_count_truth(truth),
        detections=_count_detections(detections, max(curves.max_detections)),
        metrics=_metrics(curves),
        classes=_classes(curves, truth, detections),
        notes=choice.notes,
    )
