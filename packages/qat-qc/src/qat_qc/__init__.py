"""Quantization Correction for any torch model of convolutions, with or without batch norm, and any loss."""

from typing import TYPE_CHECKING

from qat_qc.errors import CorrectionError, TaskError

if TYPE_CHECKING:
    from qat_qc.batch_norm import reestimate_bn
    from qat_qc.correction import Correction, attach, fixed_batch_norm, identity
    from qat_qc.folding import fold, fold_and_compare
    from qat_qc.protocol import Grid, Layer, Task
    from qat_qc.records import CorrectionRecord
    from qat_qc.running import correct, load_task
    from qat_qc.training import train

__all__ = [
    "Correction",
    "CorrectionError",
    "CorrectionRecord",
    "Grid",
    "Layer",
    "Task",
    "TaskError",
    "attach",
    "correct",
    "fixed_batch_norm",
    "fold",
    "fold_and_compare",
    "identity",
    "load_task",
    "reestimate_bn",
    "train",
]

_HOMES = {
    "Correction": "correction",
    "CorrectionRecord": "records",
    "Grid": "protocol",
    "Layer": "protocol",
    "Task": "protocol",
    "attach": "correction",
    "correct": "running",
    "fixed_batch_norm": "correction",
    "fold": "folding",
    "fold_and_compare": "folding",
    "identity": "correction",
    "load_task": "running",
    "reestimate_bn": "batch_norm",
    "train": "training",
}


def __getattr__(name: str) -> object:
    """Import what needs torch when it is first used, so that `qat-qc --help` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
