"""W4A16 quantization-aware training of Ultralytics detectors with ModelOpt.

`codes` and `fake_quantize` define the integer grid; `read_spec` and the command `qat-train run` train from a TOML
specification. What needs torch and Ultralytics is imported on first use, so that `qat-train --help` is quick:

>>> import qat_train
>>> qat_train.code_range(4)
(-8, 7)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qat_train.checkpoint import Checkpoint, load_checkpoint
    from qat_train.correction_task import CorrectionTask
    from qat_train.errors import Busy, Diverged, InputError, NotProven, ResourceError, SpecError, TrainError
    from qat_train.evaluator import Evaluator
    from qat_train.export.exporting import export_run
    from qat_train.export.packed import read_packed
    from qat_train.export.record import Export
    from qat_train.export.verifying import verify_export
    from qat_train.insertion import OffGrid, assert_on_grid, insert_quantizers
    from qat_train.policy import load_policy
    from qat_train.quantizer import code_range, codes, fake_quantize
    from qat_train.run import EpochRecord, Evaluation, Event, Run
    from qat_train.runner import execute
    from qat_train.spec import RunSpec, read_spec

_HOMES = {
    "Busy": "errors",
    "Checkpoint": "checkpoint",
    "CorrectionTask": "correction_task",
    "Diverged": "errors",
    "EpochRecord": "run",
    "Evaluation": "run",
    "Evaluator": "evaluator",
    "Event": "run",
    "Export": "export.record",
    "InputError": "errors",
    "NotProven": "errors",
    "OffGrid": "insertion",
    "ResourceError": "errors",
    "Run": "run",
    "RunSpec": "spec",
    "SpecError": "errors",
    "TrainError": "errors",
    "assert_on_grid": "insertion",
    "code_range": "quantizer",
    "codes": "quantizer",
    "execute": "runner",
    "export_run": "export.exporting",
    "fake_quantize": "quantizer",
    "insert_quantizers": "insertion",
    "load_checkpoint": "checkpoint",
    "load_policy": "policy",
    "read_packed": "export.packed",
    "read_spec": "spec",
    "verify_export": "export.verifying",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"qat_train.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'qat_train' has no attribute {name!r}")


__all__ = [
    "Busy",
    "Checkpoint",
    "CorrectionTask",
    "Diverged",
    "EpochRecord",
    "Evaluation",
    "Evaluator",
    "Event",
    "Export",
    "InputError",
    "NotProven",
    "OffGrid",
    "ResourceError",
    "Run",
    "RunSpec",
    "SpecError",
    "TrainError",
    "assert_on_grid",
    "code_range",
    "codes",
    "execute",
    "export_run",
    "fake_quantize",
    "insert_quantizers",
    "load_checkpoint",
    "load_policy",
    "read_packed",
    "read_spec",
    "verify_export",
]
