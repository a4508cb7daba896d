"""The narrow view of qat-data's dataset.json that a run needs."""

from pathlib import Path
from typing import ClassVar

import attrs

import qat_artifacts
from qat_train.errors import InputError
from qat_train.places import inside
from qat_train.run import DatasetBlock, SelectionBlock


@attrs.frozen(kw_only=True)
class ClassView:
    """One class, index contiguous from 0."""

    index: int
    name: str


@attrs.frozen(kw_only=True)
class SplitView:
    """One split."""

    images: int
    fingerprint: str


@attrs.frozen(kw_only=True)
class DatasetView:
    """What this package asks of qat-data/dataset 1.x."""

    SCHEMA: ClassVar[str] = "qat-data/dataset"
    VERSION: ClassVar[str] = "1.0"

    coco_root: str
    data_yaml: str = attrs.field(validator=inside)
    fingerprint: str
    classes: tuple[ClassView, ...]
    selection: SelectionBlock
    train: SplitView
    val: SplitView


@attrs.frozen(kw_only=True)
class PreparedData:
    """A prepared data set on disk."""

    path: Path
    view: DatasetView

    @property
    def yaml(self) -> Path:
        """data.yaml, absolute."""
        return self.path.parent.resolve() / self.view.data_yaml

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index."""
        return tuple(c.name for c in sorted(self.view.classes, key=lambda c: c.index))

    def describe(self) -> DatasetBlock:
        """The block of run.json."""
        return DatasetBlock(
            coco_root=self.view.coco_root,
            dataset_yaml=str(self.yaml),
            fingerprint=self.view.fingerprint,
            selection=self.view.selection,
            train_images=self.view.train.images,
            val_images=self.view.val.images,
            val_fingerprint=self.view.val.fingerprint,
            classes=self.names,
        )


def read_data(path: str) -> PreparedData:
    """Read dataset.json; `path` is the file or its folder.

    Raises:
        ArtifactError: no such artifact, or not one this version reads.
        InputError: data.yaml beside it is gone.
    """
    file = Path(path)
    file = file / "dataset.json" if file.is_dir() else file
    data = PreparedData(path=file, view=qat_artifacts.read_view(file, DatasetView))
    if not data.yaml.is_file():
        raise InputError(f"{data.yaml} is missing; prepare the data set again: qat-data prepare")
    return data
