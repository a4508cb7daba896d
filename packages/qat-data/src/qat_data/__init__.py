"""COCO data sets: checked, deterministic subsets with provenance, as a YOLO view.

>>> import pathlib, tempfile
>>> from qat_data import CocoLayout, Request, prepare, read_coco, synthesize
>>> folder = pathlib.Path(tempfile.mkdtemp())
>>> root = synthesize(folder / "shapes", train_images=4, val_images=2, seed=0, imgsz=64)
>>> dataset = prepare(read_coco(CocoLayout(root=root)), folder / "data", Request(train_images=3))
>>> dataset.train.images, dataset.val.images, len(dataset.classes)
(3, 2, 6)
"""

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
