"""The floating-point starting model, asked once per batch by however many interventions."""

from typing import Any

import torch
from torch import Tensor, nn

TAUGHT = frozenset({"distillation", "soft_labels"})  # interventions that ask it


class Teacher:
    """Runs a detector in evaluation mode on the batch at hand; what its head saw and gave is read off by hooks."""

    def __init__(self, detector: Any) -> None:
        """Args:
        detector: frozen, in evaluation mode; `detector.model[-1]` is its head.
        """
        self._detector = detector
        self._seen: Tensor | None = None

    @property
    def head(self) -> nn.Module:
        """Where to put a hook."""
        found: nn.Module = self._detector.model[-1]
        return found

    @torch.no_grad()
    def look(self, images: Tensor) -> None:
        """A forward pass on `images`, unless they were the last ones."""
        if images is not self._seen:
            self._detector(images)
            self._seen = images
