"""Dampening: a loss that pulls every latent weight to the middle of its bin.

Nagel et al., arXiv 2203.11086, section 4.1: L = L_task + λ_t · Σ ||sg(Q(w)) - clip(w, -2^(b-1)·s, (2^(b-1)-1)·s)||². As
in their code the square is summed over output channels and averaged over the rest, λ is 0 in the first quarter and then
rises by half a cosine to the strength (theirs is 0.1), and layers of every width take part.
"""

from typing import Any

import torch
from torch import Tensor, nn

from qat_train.insertion import active_quantizers, layer_scale
from qat_train.interventions.annealing import cosine
from qat_train.interventions.base import Intervention
from qat_train.quantizer import code_range, codes

START = 0.25  # of the training


def dampening_loss(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Squared distance of a weight from its value on the grid, summed over axis 0, mean over the rest; a scalar.

    Clipped weights are at distance 0 of what they are clipped to and get no gradient; neither does the scale.
    """
    low, high = code_range(bits)
    scale = scale.detach()
    target = codes(weight.detach(), scale, bits) * scale
    clipped = torch.minimum(torch.maximum(weight, low * scale), high * scale)
    return (target - clipped).square().sum(dim=0).mean()


class Dampening(Intervention):
    """Adds λ_t times the loss of all quantized layers."""

    def __init__(self, model: nn.Module, strength: float) -> None:
        self._layers = list(active_quantizers(model))
        self._strength = strength

    def loss(self, images: Tensor, progress: float) -> Tensor | None:
        """λ_t · Σ over layers; None while λ is 0."""
        weight = cosine(progress, start=START, first=0.0, last=self._strength)
        if weight == 0.0:
            return None
        with torch.autocast(images.device.type, enabled=False):
            parts = [dampening_loss(conv.weight, layer_scale(q), q.num_bits) for _, conv, q in self._layers]
            total: Tensor = weight * torch.stack(parts).sum()
            return total


def build(*, model: nn.Module, strength: float, **_: Any) -> Dampening:
    """`strength`: λ at the end."""
    return Dampening(model, strength)
