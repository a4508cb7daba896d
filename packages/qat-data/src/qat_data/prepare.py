"""From a source to a prepared folder: a checked, deterministic subset as a view that readers may treat as their own.

The user's files are linked, never written: Ultralytics mends JPEGs in place and leaves caches beside labels.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

import qat_artifacts
from qat_data.errors import DataError, RequestError
from qat_data.images import CheckedImage, Unusable, check_image
from qat_data.parallel import Progress, on_all_cores
from qat_data.publish import published_folder
from qat_data.records import Class, Dataset, Dropped, File, LeftOut, Selection, Split
from qat_data.selection import select
from qat_data.sources import SourceData, SourceImage, refuse_repeated, view_name
from qat_data.truth import write_truth
from qat_data.view import label_text, link_images, write_data_yaml, write_labels


@attrs.frozen(kw_only=True)
class Request:
    """What to take from a source. `allow_missing` images of a split may be unusable and are left out."""

    train_images: int | None = None
    val_images: int | None = None
    data_seed: int = 0
    train_selection: str = "hash"
    val_selection: str = "first"
    allow_missing: int = 0


@attrs.frozen(kw_only=True)
class Chosen:
    """One split, selected and checked."""

    name: str
    selection: str
    available: int
    left_out: LeftOut
    notes: tuple[str, ...]
    images: tuple[CheckedImage, ...]


def _check(images: Sequence[SourceImage]) -> list[CheckedImage | Unusable]:
    found: list[CheckedImage | Unusable] = []
    for image in images:
        try:
            found.append(check_image(image))
        except Unusable as error:
            found.append(error)
    return found


def _check_all(
    images: Sequence[SourceImage], split: str, progress: Progress
) -> tuple[list[CheckedImage], list[Unusable]]:
    """Check images; readable ones and complaints."""
    results = on_all_cores(_check, images, split, progress)
    readable = [result for result in results if isinstance(result, CheckedImage)]
    return readable, [result for result in results if isinstance(result, Unusable)]


def choose(data: SourceData, split: str, request: Request, progress: Progress) -> Chosen:
    """Select and check the images of "train" or "val".

    Raises:
        DataError: more than `allow_missing` images cannot be used, none is left, or none has a box.
        RequestError: the selection is malformed.
    """
    images = data.train if split == "train" else data.val
    how = request.train_selection if split == "train" else request.val_selection
    number = request.train_images if split == "train" else request.val_images
    chosen, selection, notes = select(images, how, number, request.data_seed)
    checked, complaints = _check_all(chosen, split, progress)
    if len(complaints) > request.allow_missing:
        shown = "\n  ".join(map(str, complaints[:10]))
        more = f"\n  and {len(complaints) - 10} more" if len(complaints) > 10 else ""
        remedy = "--allow-missing N leaves up to N out"
        if len(complaints) == len(chosen) and data.source.format == "coco":  # most likely, their folder is another one
            remedy = f"is their folder right? --{split}-dir, in a ladder data.{split}_dir"
        raise DataError(
            f"{split}: {len(complaints)} of {len(chosen)} images cannot be used ({remedy}):\n  {shown}{more}"
        )
    if complaints:
        notes = (*notes, f"{len(complaints)} images left out: " + "; ".join(map(str, complaints)))
    if not checked:
        raise DataError(f"{split}: no images; {len(images)} are listed in {data.root}")
    if not any(c.image.labels for c in checked):
        raise DataError(f"{split}: no boxes in {len(checked)} images; average precision would be undefined")
    stems = [Path(view_name(c.image.file_name)).stem for c in checked]
    refuse_repeated(stems, f"{split} label name", data.root)
    return Chosen(
        name=split,
        selection=selection,
        available=len(images),
        left_out=LeftOut(**Counter[str](complaint.reason for complaint in complaints)),
        notes=notes,
        images=tuple(checked),
    )


def choose_both(data: SourceData, request: Request, progress: Progress) -> tuple[Chosen, Chosen, int]:
    """Both splits, and how many images of val are in train too, byte for byte; a note of val names them.

    Raises:
        DataError, RequestError: as `choose` does.
    """
    train, val = (choose(data, split, request, progress) for split in ("train", "val"))
    known = {checked.sha256 for checked in train.images}
    shared = [checked.image.file_name for checked in val.images if checked.sha256 in known]
    if shared:
        names = ", ".join(shared[:10]) + (f" and {len(shared) - 10} more" if len(shared) > 10 else "")
        note = f"{len(shared)} of {len(val.images)} images are in train too, byte for byte: {names}"
        val = attrs.evolve(val, notes=(*val.notes, note))
    return train, val, len(shared)


def label_texts(chosen: Chosen) -> tuple[str, ...]:
    """The label file of each image."""
    return tuple(label_text(checked.image) for checked in chosen.images)


def split_fingerprint(names: Iterable[str], files: Iterable[tuple[str, str, str, str]]) -> str:
    """SHA-256 over class names, and (image id, file name, image hash, label text) of each image in order."""
    digest = hashlib.sha256(json.dumps(list(names)).encode())
    for entry in files:
        digest.update(b"\n" + json.dumps(entry).encode())
    return digest.hexdigest()


def fingerprint(train: str, val: str) -> str:
    """SHA-256 over the fingerprints of both splits."""
    return hashlib.sha256(f"{train}\n{val}".encode()).hexdigest()


def describe_split(chosen: Chosen, classes: tuple[Class, ...], texts: Sequence[str]) -> Split:
    """The block of dataset.json; `texts` are the label files."""
    files, entries = [], []
    for checked, text in zip(chosen.images, texts, strict=True):
        image = checked.image
        entries.append((image.image_id, image.file_name, checked.sha256, text))
        files.append(
            File(
                image_id=image.image_id,
                file_name=image.file_name,
                sha256=checked.sha256,
                width=checked.width,
                height=checked.height,
                boxes=len(image.labels),
            )
        )
    dropped: Counter[str] = Counter(reason for c in chosen.images for reason in c.image.dropped)
    return Split(
        images=len(files),
        boxes=sum(f.boxes for f in files),
        images_available=chosen.available,
        images_without_boxes=sum(f.boxes == 0 for f in files),
        fingerprint=split_fingerprint([c.name for c in classes], entries),
        dropped=Dropped(**dropped),
        clipped=sum(label.clipped for c in chosen.images for label in c.image.labels),
        copied=sum(c.mended is not None for c in chosen.images),
        left_out=chosen.left_out,
        notes=chosen.notes,
        files=tuple(files),
    )


def _name(data: SourceData, request: Request, train: Chosen) -> str:
    stem = Path(data.root).resolve().name
    return f"{stem}-{train.selection.replace(':', '-')}{request.data_seed}-{len(train.images)}"


def refuse_inside(data: SourceData, out: Path) -> None:
    """Raise RequestError where `out` lies in a folder of the source."""
    for folder in data.folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise RequestError(f"--out {out} lies in {folder}, which is only read; choose a folder outside it")


def prepare(data: SourceData, out: Path, request: Request, progress: Progress = lambda _: None) -> Dataset:
    """Write the prepared folder `out`, whole or not at all, and return what its dataset.json says.

    Raises:
        DataError: an image is missing or broken, or a split is left without images or boxes.
        RequestError: `out` is not empty or lies in the source, or the selection is malformed.
        OSError: `out` cannot be written, or the disk is full.
    """
    refuse_inside(data, out)
    with published_folder(out) as folder:  # before every image is read: where nothing can be written, that is in vain
        train, val, shared = choose_both(data, request, progress)
        splits = {}
        for chosen in (train, val):
            texts = label_texts(chosen)
            splits[chosen.name] = describe_split(chosen, data.classes, texts)
            write_labels(folder, chosen.name, [checked.image.file_name for checked in chosen.images], texts)
            link_images(folder, chosen.name, chosen.images, out)
        write_data_yaml(folder, data.classes)
        record = Dataset(
            name=_name(data, request, train),
            coco_root=data.root,
            data_yaml="data.yaml",
            fingerprint=fingerprint(splits["train"].fingerprint, splits["val"].fingerprint),
            source=data.source,
            classes=data.classes,
            selection=Selection(
                data_seed=request.data_seed,
                train=train.selection,
                val=val.selection,
                train_images_requested=request.train_images,
                val_images_requested=request.val_images,
            ),
            train=splits["train"],
            val=splits["val"],
            val_images_in_train=shared,
            val_annotations=write_truth(folder / "val.json", data, val.images),
        )
        qat_artifacts.write(folder / "dataset.json", record)
    return record
