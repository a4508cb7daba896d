"""Data sets as people read them on a terminal."""

import attrs

from qat_data.check import Checked, Counts
from qat_data.evaluation import Evaluation
from qat_data.labelling import Labelled
from qat_data.records import Dataset


def _counts(name: str, counts: Counts) -> list[str]:
    lines = [
        f"{name:6} {counts.images} images, {counts.boxes} boxes, {counts.images_without_boxes} images without boxes"
    ]
    dropped = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in attrs.asdict(counts.dropped).items() if n)
    if dropped:
        lines.append(f"       boxes dropped: {dropped}")
    if counts.clipped:
        lines.append(f"       boxes clipped to the image: {counts.clipped}")
    left_out = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in attrs.asdict(counts.left_out).items() if n)
    if left_out:
        lines.append(f"       images left out: {left_out}")
    if counts.copied:
        lines.append(f"       images copied and mended instead of linked: {counts.copied}")
    return lines + [f"       {note}" for note in counts.notes]


def describe(dataset: Dataset) -> str:
    """Name, counts and fingerprint of a prepared data set."""
    lines = [dataset.name, *_counts("train", Counts.of(dataset.train)), *_counts("val", Counts.of(dataset.val))]
    return "\n".join([*lines, f"{len(dataset.classes)} classes, fingerprint {dataset.fingerprint}"])


def describe_labels(labelled: Labelled) -> str:
    """Counts of both splits, and the folder."""
    lines = []
    for name, counts in (("train", labelled.train), ("val", labelled.val)):
        boxes = f"{counts.boxes} boxes, {counts.images_without_boxes} images without boxes"
        lines += [f"{name:6} {counts.images} images, {boxes}", *(f"       {note}" for note in counts.notes)]
    return "\n".join([*lines, f"{len(labelled.classes)} classes, no image was looked at", labelled.path])


def describe_check(checked: Checked) -> str:
    """Counts, then every warning and fault, then the verdict."""
    lines = [f"{checked.path} ({checked.format}), {len(checked.classes)} classes"]
    lines += [*_counts("train", checked.train), *_counts("val", checked.val)]
    lines += [f"warning: {warning}" for warning in checked.warnings]
    lines += [f"fault: {fault}" for fault in checked.faults]
    return "\n".join([*lines, f"{len(checked.faults)} faults" if checked.faults else "no faults"])


def _number(value: float | None) -> str:
    return f"{'-':>6}" if value is None else f"{value:6.4f}"


def describe_evaluation(evaluation: Evaluation) -> str:
    """What was counted, the twelve numbers, and a table of the classes that have boxes or detections."""
    truth, found, evaluator = evaluation.truth, evaluation.detections, evaluation.evaluator
    m = evaluation.metrics
    title = evaluation.dataset.name if evaluation.dataset else f"annotations {truth.sha256[:12]}"
    zero = f" ({truth.zero_area} without area)" if truth.zero_area else ""
    lines = [
        title,
        f"truth      {truth.images} images, {truth.boxes} boxes{zero}, {truth.crowds} crowds",
        f"detections {found.number} in {found.images} images",
        f"evaluator  {evaluator.name} {evaluator.version}",
        f"mAP50-95   {_number(m.map50_95)}   mAP50 {_number(m.map50)}   mAP75 {_number(m.map75)}",
        f"  by size  small {_number(m.map_small)}   medium {_number(m.map_medium)}   large {_number(m.map_large)}",
        f"AR         1: {_number(m.ar1)}   10: {_number(m.ar10)}   100: {_number(m.ar100)}",
        f"  by size  small {_number(m.ar_small)}   medium {_number(m.ar_medium)}   large {_number(m.ar_large)}",
    ]
    if truth.unusable:
        lines.append(f"boxes left out, as no overlap with them is defined: {truth.unusable}")
    if found.surplus:
        most = max(evaluator.max_detections)
        lines.append(f"detections after the first {most} of their image and class, not counted: {found.surplus}")
    lines += evaluation.notes
    shown = [c for c in evaluation.classes if c.boxes or c.detections]
    width = max(len("class"), *(len(c.name) for c in shown))
    lines.append(f"{'class':{width}}  images  boxes  detections  AP50-95    AP50")
    for c in shown:
        numbers = f"{c.images:6}  {c.boxes:5}  {c.detections:10}   {_number(c.ap)}  {_number(c.ap50)}"
        lines.append(f"{c.name:{width}}  {numbers}")
    return "\n".join(lines)
