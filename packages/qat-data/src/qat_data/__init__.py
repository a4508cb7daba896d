"""COCO data sets: checked, deterministic subsets with provenance, as a YOLO view.

>>> import pathlib, tempfile
>>> from qat_data import CocoLayout, Request, prepare, read_coco, synthesize
>>> folder = pathlib.Path(tempfile.mkdtemp())
>>> root = synthesize(folder / "shapes", train_images=4, val_images=2, seed=0, imgsz=64)
>>> dataset = prepare(read_coco(CocoLayout(root=root)), folder / "data", Request(train_images=3))
>>> dataset.train.images, dataset.val.images, len(dataset.classes)
(3, 2, 6)
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qat_data.check import Checked, check_any, check_prepared, check_source
    from qat_data.coco import CocoLayout, read_coco
    from qat_data.detections import Detection, Detections, read_detections
    from qat_data.errors import DataError, MissingPackage, RequestError
    from qat_data.evaluate import evaluate
    from qat_data.evaluation import Evaluation
    from qat_data.prepare import Request, prepare
    from qat_data.records import Dataset
    from qat_data.sources import SourceData, SourceImage
    from qat_data.synth import synthesize
    from qat_data.truth import GroundTruth, read_annotations, read_truth
    from qat_data.yolo import read_yolo

__all__ = [
    "Checked",
    "CocoLayout",
    "DataError",
    "Dataset",
    "Detection",
    "Detections",
    "Evaluation",
    "GroundTruth",
    "MissingPackage",
    "Request",
    "RequestError",
    "SourceData",
    "SourceImage",
    "check_any",
    "check_prepared",
    "check_source",
    "evaluate",
    "prepare",
    "read_annotations",
    "read_coco",
    "read_detections",
    "read_truth",
    "read_yolo",
    "synthesize",
]
_HOMES = {
    "Checked": "check",
    "CocoLayout": "coco",
    "DataError": "errors",
    "Dataset": "records",
    "Detection": "detections",
    "Detections": "detections",
    "Evaluation": "evaluation",
    "GroundTruth": "truth",
    "MissingPackage": "errors",
    "Request": "prepare",
    "RequestError": "errors",
    "SourceData": "sources",
    "SourceImage": "sources",
    "check_any": "check",
    "check_prepared": "check",
    "check_source": "check",
    "evaluate": "evaluate",
    "prepare": "prepare",
    "read_annotations": "truth",
    "read_coco": "coco",
    "read_detections": "detections",
    "read_truth": "truth",
    "read_yolo": "yolo",
    "synthesize": "synth",
}


class _Package(ModuleType):
    """Imports a public name from its module when it is first asked for; `qat-data --help` needs no numpy."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        self.__dict__[name] = found
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing qat_data.prepare binds that module to qat_data.prepare, where the public name is a function.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
