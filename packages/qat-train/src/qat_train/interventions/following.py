"""Scales that follow the weights: after each step, amax is a moving average of what its channel's weights ask for.

Jacob et al. (arXiv 1712.05877, section 3.1) take the range of a weight tensor from the weights at each step: a strength
of 1, and Brevitas' scales from statistics. torch.ao keeps a moving average of each channel's range
(MovingAveragePerChannelMinMaxObserver, averaging constant 0.01). Ours are fixed or learned without this. A fixed scale
clips what outgrows it, and a clipped weight has no gradient.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qat_train.insertion import active_quantizers
from qat_train.interventions.base import Intervention
from qat_train.quantizer import SMALLEST_AMAX, largest_weight


class Following(Intervention):
    """amax <- amax + strength · (c · max |w| - amax), with c = amax / max |w| of the start, scale by scale.

    c is 1 where scales started at the maximum: then nothing is clipped. Where they started at the least squared error,
    c is that clip, and as much stays clipped as was. After GPTQ it is 1, or less where the lowest code has the largest
    weight: what it clipped lies on the edge.
    """

    def __init__(self, model: nn.Module, strength: float) -> None:
        self._layers = {name: (conv, quantizer) for name, conv, quantizer in active_quantizers(model)}
        self._strength = strength
        self._share = {name: q._amax.detach() / _largest(conv, q) for name, (conv, q) in self._layers.items()}

    @torch.no_grad()
    def constrain(self) -> None:
        """Each amax a part of the way to what the weights ask for now."""
        for name, (conv, quantizer) in self._layers.items():
            wanted = (self._share[name] * _largest(conv, quantizer)).clamp_(min=SMALLEST_AMAX)
            quantizer._amax.lerp_(wanted, self._strength)

    def state(self) -> dict[str, Tensor]:
        """Each layer's c: that of the start, whatever the weights are when a run goes on."""
        return dict(self._share)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        self._share = {name: state[name].to(share.device).clone() for name, share in self._share.items()}


def _largest(conv: Any, quantizer: Any) -> Tensor:
    """Largest |w| of each scale's weights, in the shape of amax."""
    largest = largest_weight(conv.weight, per_channel=quantizer.axis is not None)
    return largest.reshape(quantizer._amax.shape)


def build(*, model: nn.Module, strength: float, **_: Any) -> Following:
    """`strength`: the share of the way that a step goes, in (0, 1]."""
    return Following(model, strength)
