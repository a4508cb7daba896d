"""Iterative weight freezing: a weight that oscillates too often keeps its code for the rest of the training.

Nagel et al., arXiv 2203.11086, section 4.2 and their tracker: no freezing in the first quarter; then the threshold on
the frequency f falls by half a cosine from 0.1 to the strength. The frozen code is the rounded moving average of the
codes, and freezing happens in the integer domain, so that a learned scale goes on learning.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qat_train.insertion import layer_scale
from qat_train.interventions.annealing import cosine
from qat_train.interventions.base import Intervention
from qat_train.oscillation import Tracker

START = 0.25  # of the training
FIRST_THRESHOLD = 0.1


class Freezing(Intervention):
    """Per followed layer: which weights are frozen, at which code, and the moving average of codes."""

    def __init__(self, model: nn.Module, tracker: Tracker, strength: float) -> None:
        self._tracker = tracker
        self._strength = strength
        self._frozen = {k: torch.zeros_like(layer.code, dtype=torch.bool) for k, layer in tracker.layers.items()}
        self._code = {k: torch.zeros_like(layer.code) for k, layer in tracker.layers.items()}
        # The average starts when the threshold is first on; NaN until then.
        self._average = {k: torch.full_like(layer.frequency, torch.nan) for k, layer in tracker.layers.items()}

    @torch.no_grad()
    def constrain(self) -> None:
        """Frozen weights back to code times scale: the optimizer moved them, or their scale."""
        for name, layer in self._tracker.layers.items():
            frozen = self._frozen[name]
            if frozen.any():
                held = self._code[name].to(layer.conv.weight) * layer_scale(layer.quantizer)
                layer.conv.weight.copy_(torch.where(frozen, held, layer.conv.weight))

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Freeze what is above the threshold now, then let the average of codes take the step in."""
        if progress < START:
            return
        threshold = cosine(progress, start=START, first=FIRST_THRESHOLD, last=self._strength)
        for name, layer in self._tracker.layers.items():
            code, average = layer.code.float(), self._average[name]
            average = torch.where(average.isnan(), code, average)
            fresh = (layer.frequency > threshold) & ~self._frozen[name]
            self._code[name] = torch.where(fresh, average.round().to(torch.int8), self._code[name])
            self._frozen[name] |= fresh
            self._average[name] = average + self._tracker.momentum * (code - average)
        self.constrain()

    def state(self) -> dict[str, Tensor]:
        """Masks, codes and averages by "<layer>.<name>"."""
        parts = {"frozen": self._frozen, "code": self._code, "average": self._average}
        return {f"{name}.{part}": value for part, held in parts.items() for name, value in held.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for part, held in (("frozen", self._frozen), ("code", self._code), ("average", self._average)):
            for name in held:
                held[name] = state[f"{name}.{part}"].to(held[name].device).clone()


def build(*, model: nn.Module, tracker: Tracker, strength: float, **_: Any) -> Freezing:
    """`strength`: the threshold on f at the end; two to three times the tracker's momentum or more, say its authors."""
    return Freezing(model, tracker, strength)
