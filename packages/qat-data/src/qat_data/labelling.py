"""Labels alone: the subset that `prepare` would take, for who has no image yet or needs none."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import attrs

from qat_data.errors import DataError
from qat_data.prepare import Request, refuse_inside
from qat_data.publish import published_folder
from qat_data.selection import select_places
from qat_data.sources import Images, SourceData, label_name, refuse_repeated, view_name
from qat_data.view import label_text, write_data_yaml, write_labels


@attrs.frozen(kw_only=True)
class LabelCounts:
    """What was written of one split."""

    images: int
    boxes: int
    images_without_boxes: int
    notes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Labelled:
    """Labels of both splits, below `path`."""

    path: str
    classes: tuple[str, ...]
    train: LabelCounts
    val: LabelCounts


def write_labels_only(
    data: SourceData, out: Path, request: Request, progress: Callable[[str], None] = lambda _: None
) -> Labelled:
    """Write data.yaml, lists and labels of the images that `prepare` would choose; no image is looked at.

    The labels are those of `prepare`, byte for byte. There is no dataset.json: what it states of images, their hashes
    and that they can be read, is not known, so nothing takes the folder for a prepared one.

    Raises:
        DataError: a split has no images, or two of its images have one label name.
        RequestError: `out` is not empty or lies in the source, or the selection is malformed.
        OSError: `out` cannot be written, or the disk is full.
    """
    refuse_inside(data, out)
    counts = {}
    with published_folder(out) as folder:
        for split, images, how, number in (
            ("train", data.train, request.train_selection, request.train_images),
            ("val", data.val, request.val_selection, request.val_images),
        ):
            places, _, notes = select_places(images, how, number, request.data_seed)
            if not places:
                raise DataError(f"{split}: no images are listed in {data.root}")
            names = [images.names[place][1] for place in places]
            refuse_repeated([label_name(view_name(name)) for name in names], f"{split} label name", data.root)
            boxes: list[int] = []
            write_labels(folder, split, names, _texts(images, places, boxes))
            counts[split] = LabelCounts(
                images=len(places), boxes=sum(boxes), images_without_boxes=boxes.count(0), notes=notes
            )
            progress(f"{split}: labels of {len(places)} images written")
        write_data_yaml(folder, data.classes)
    return Labelled(path=str(out), classes=tuple(c.name for c in data.classes), **counts)


def _texts(images: Images, places: Iterable[int], boxes: list[int]) -> Iterator[str]:
    """Label files of some images, made one by one; `boxes` grows by the number in each."""
    for place in places:
        image = images[place]
        boxes.append(len(image.labels))
        yield label_text(image)
