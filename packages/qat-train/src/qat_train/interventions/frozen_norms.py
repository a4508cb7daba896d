"""Batch norms as in evaluation: their statistics stay as they are, and training normalizes with them.

Krishnamoorthi (arXiv 1806.08342, on batch normalization): statistics of a batch move from step to step, and with them
what a folded layer computes; frozen ones remove that mismatch between training and inference. A short training on few
images has one reason more: the running statistics become those of its images. Scale and offset go on training.
"""

from typing import Any

from torch import nn

from qat_train.interventions.base import Intervention


class FrozenNorms(Intervention):
    """Puts every batch norm into evaluation mode before it computes."""

    def __init__(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_pre_hook(_evaluate)


def _evaluate(norm: nn.Module, _inputs: Any) -> None:
    """At every call: Ultralytics puts all modules into training mode at the start of each epoch."""
    norm.eval()


def build(*, model: nn.Module, **_: Any) -> FrozenNorms:
    """A strength of 1: the whole training, the only one there is."""
    return FrozenNorms(model)
