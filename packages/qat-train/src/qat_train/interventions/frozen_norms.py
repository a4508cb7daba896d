"""Batch norms as in evaluation: their statistics stay as they are, and training normalizes with them.

Krishnamoorthi (arXiv 1806.08342, on batch normalization): statistics of a batch move from step to step, and with them
what a folded layer computes; frozen ones remove that mismatch between training and inference. A short training on few
images has one reason more: the running statistics become those of its images. Scale and offset go on training.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qat_train.interventions.base import Intervention


class FrozenNorms(Intervention):
    """Frozen over the last `share` of the training, 1 being all of it."""

    def __init__(self, model: nn.Module, share: float) -> None:
        self._start = 1.0 - share
        self._frozen = self._start <= 0.0
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_pre_hook(self._before)

    def _before(self, norm: nn.Module, _inputs: Any) -> None:
        # At every call: Ultralytics puts all modules into training mode at the start of each epoch.
        if self._frozen:
            norm.eval()

    def after_step(self, progress: float) -> None:
        """Frozen from the next step on, once the share is reached."""
        self._frozen = self._frozen or progress >= self._start

    def state(self) -> dict[str, Tensor]:
        """Whether the next step finds them frozen."""
        return {"frozen": torch.tensor(self._frozen)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        self._frozen = bool(state["frozen"])


def build(*, model: nn.Module, strength: float, **_: Any) -> FrozenNorms:
    """`strength`: the share of the training, at its end, in which they are frozen, in (0, 1]."""
    return FrozenNorms(model, strength)
