"""Data sets as people read them on a terminal."""

import attrs

from qat_data.check import Checked, Counts
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


def describe_check(checked: Checked) -> str:
    """Counts, then every fault, then the verdict."""
    lines = [f"{checked.path} ({checked.format}), {len(checked.classes)} classes"]
    lines += [*_counts("train", checked.train), *_counts("val", checked.val)]
    lines += [f"fault: {fault}" for fault in checked.faults]
    return "\n".join([*lines, f"{len(checked.faults)} faults" if checked.faults else "no faults"])
