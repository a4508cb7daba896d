"""How much the codes of a training run oscillate, counted once per optimizer step.

Nagel et al., "Overcoming Oscillations in Quantization-Aware Training" (ICML 2022, arXiv 2203.11086), section 3 and the
tracker of its code. A code switches when it changes between two steps; a switch that goes back in the direction of the
one before is an oscillation; f is the moving average of "oscillated in this step", per weight:

    d_t = sign(q_{t-1} - q_t) where the code switched;   o_t = switched and d_t · d_before = -1;   f <- m·o_t + (1-m)·f

Oscillation is a measurement here, not a verdict: at 3 bits and more it need not harm (arXiv 2502.00490).
"""

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from qat_train.insertion import active_quantizers, layer_scale
from qat_train.quantizer import code_range, codes
from qat_train.run import LayerOscillation, Oscillation

BINS = 10  # of the distance to the nearest rounding threshold, over [0, 0.5]


@attrs.define(kw_only=True)
class _Layer:
    """State of one layer: tensors of the weight's shape, but for the scale."""

    conv: nn.Conv2d
    quantizer: Any
    code: Tensor  # int8, after the last update
    direction: Tensor  # int8, sign of the last switch, 0 before the first
    frequency: Tensor  # fp32
    scale: Tensor  # at the last update
    counts: Tensor  # int64: switches since the last record, by weight, by scale


class Tracker:
    """Follows the integer codes of a model's quantized layers. Reads weights and scales, changes nothing."""

    def __init__(self, model: nn.Module, *, bits: int = 4, momentum: float = 0.01, threshold: float = 0.02) -> None:
        """Start from the codes as they are.

        Args:
            model: with active quantizers.
            bits: layers of at most this width are followed; the few wider ones (stem, head ends) have other steps.
            momentum: m; 0.01 remembers about a hundred steps.
            threshold: a weight with f above it oscillates: two times the momentum, two oscillations of late.
        """
        self.momentum, self.threshold = momentum, threshold
        self.layers: dict[str, _Layer] = {}
        for name, conv, quantizer in active_quantizers(model):
            if quantizer.num_bits <= bits:
                code = _codes(conv, quantizer)
                self.layers[name] = _Layer(
                    conv=conv,
                    quantizer=quantizer,
                    code=code,
                    direction=torch.zeros_like(code),
                    frequency=torch.zeros_like(conv.weight, dtype=torch.float32, requires_grad=False),
                    scale=layer_scale(quantizer).detach().clone(),
                    counts=torch.zeros(3, dtype=torch.int64, device=code.device),
                )

    @torch.no_grad()
    def update(self) -> None:
        """Count what one optimizer step did to every code. Call it once per step, after the step."""
        for layer in self.layers.values():
            scale = layer_scale(layer.quantizer)
            new = _codes(layer.conv, layer.quantizer)
            switched = new != layer.code
            step = torch.sign(layer.code.short() - new.short()).to(torch.int8)
            oscillated = switched & (step * layer.direction == -1)
            layer.frequency.mul_(1 - self.momentum).add_(oscillated, alpha=self.momentum)
            layer.direction = torch.where(switched, step, layer.direction)
            total = switched.sum()
            by_weight = total
            if not torch.equal(scale, layer.scale):
                # Whose doing was it: would the weight's own change, under the scale of before, have switched the code?
                alone = codes(layer.conv.weight, layer.scale, layer.quantizer.num_bits).to(torch.int8)
                by_weight = (switched & (alone != layer.code)).sum()
                layer.scale = scale.detach().clone()
            layer.counts += torch.stack([total, by_weight, total - by_weight])
            layer.code = new

    @torch.no_grad()
    def record(self) -> Oscillation:
        """The state now and the switches since the last record, per layer and over all; they count anew afterwards."""
        layers = {name: _describe(layer, self.threshold) for name, layer in self.layers.items()}
        for layer in self.layers.values():
            layer.counts.zero_()
        return Oscillation(
            momentum=self.momentum, threshold=self.threshold, total=_total(list(layers.values())), layers=layers
        )

    def state(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs, by "<layer>.<name>"."""
        return {
            f"{name}.{slot}": getattr(layer, slot)
            for name, layer in self.layers.items()
            for slot in ("code", "direction", "frequency", "scale", "counts")
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for name, layer in self.layers.items():
            for slot in ("code", "direction", "frequency", "scale", "counts"):
                setattr(layer, slot, state[f"{name}.{slot}"].to(layer.code.device).clone())


def _codes(conv: nn.Conv2d, quantizer: Any) -> Tensor:
    return codes(conv.weight.detach(), layer_scale(quantizer).detach(), quantizer.num_bits).to(torch.int8)


def threshold_distances(ratio: Tensor, bits: int) -> Tensor:
    """Distance of v = w/s from the nearest threshold k + 1/2 with k from -2^(b-1) to 2^(b-1)-2; above 0.5: clipped."""
    low, high = code_range(bits)
    nearest = torch.clamp(torch.floor(ratio), low, high - 1) + 0.5
    return (ratio - nearest).abs()


def _describe(layer: _Layer, threshold: float) -> LayerOscillation:
    ratio = layer.conv.weight.detach() / layer_scale(layer.quantizer).detach()
    distance = threshold_distances(ratio, layer.quantizer.num_bits)
    # A run whose weights are not finite is recorded too, as what it is: its rollback is an event beside this.
    bins = (distance.nan_to_num(nan=0.5) * (2 * BINS)).clamp(max=BINS - 1).long().flatten()
    switches, by_weight, by_scale = (int(n) for n in layer.counts)
    return LayerOscillation(
        weights=layer.code.numel(),
        frequency=float(layer.frequency.double().mean()),
        share=float((layer.frequency > threshold).double().mean()),
        switches=switches,
        by_weight=by_weight,
        by_scale=by_scale,
        distance=tuple(torch.bincount(bins, minlength=BINS).tolist()),
    )


def _total(layers: list[LayerOscillation]) -> LayerOscillation:
    weights = sum(layer.weights for layer in layers)
    return LayerOscillation(
        weights=weights,
        frequency=sum(layer.frequency * layer.weights for layer in layers) / max(weights, 1),
        share=sum(layer.share * layer.weights for layer in layers) / max(weights, 1),
        switches=sum(layer.switches for layer in layers),
        by_weight=sum(layer.by_weight for layer in layers),
        by_scale=sum(layer.by_scale for layer in layers),
        distance=tuple(sum(column) for column in zip(*(layer.distance for layer in layers), strict=True))
        or (0,) * BINS,
    )
