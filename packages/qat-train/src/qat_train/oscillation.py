"""How much the codes of a training run oscillate, counted once per optimizer step.

Nagel et al., "Overcoming Oscillations in Quantization-Aware Training" (ICML 2022, arXiv 2203.11086), section 3 and the
tracker of its code. A code switches when it changes between two steps; a switch that goes back in the direction of the
one before is an oscillation; f is the moving average of "oscillated in this step", per weight:

    d_t = sign(q_{t-1} - q_t) where the code switched;   o_t = switched and d_t · d_before = -1;   f <- m·o_t + (1-m)·f

Oscillation is a measurement here, not a verdict: at 3 bits and more it need not harm (arXiv 2502.00490).
"""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from qat_train.insertion import active_quantizers, layer_scale
from qat_train.quantizer import code_range, codes
from qat_train.run import LayerOscillation, Oscillation

_STATE = ("code", "direction", "frequency", "scale", "counts")  # of a layer, what a resumed run needs
_MOST_UNCOUNTED = 127  # updates whose switches of one weight an int8 holds
BINS = 10  # of the distance to the nearest rounding threshold, over [0, 0.5]


@attrs.define(kw_only=True)
class _Layer:
    """State of one layer. Tensors of the weight's shape are views of the tracker's own, which hold all layers."""

    conv: nn.Conv2d
    quantizer: Any
    code: Tensor  # int8, after the last update
    direction: Tensor  # int8, sign of the last switch, 0 before the first
    frequency: Tensor  # fp32
    ratio: Tensor  # fp32, room for w/s
    scale: Tensor  # at the last update
    version: int  # of the amax at the last update, as torch counts changes in place
    counts: Tensor  # int64: switches since the last record, by weight, by scale


class Tracker:
    """Follows the integer codes of a model's quantized layers. Reads weights and scales, changes nothing.

    An update is of every step, so what it does to a weight is done to all layers at once, in int8 where it can be:
    comparing, converting and summing booleans layer by layer took longer than quantizing.
    """

    def __init__(self, model: nn.Module, *, bits: int = 4, momentum: float = 0.01, threshold: float = 0.02) -> None:
        """Start from the codes as they are.

        Args:
            model: with active quantizers.
            bits: layers of at most this width are followed; the few wider ones (stem, head ends) have other steps.
            momentum: m; 0.01 remembers about a hundred steps.
            threshold: a weight with f above it oscillates: two times the momentum, two oscillations of late.
        """
        self.momentum, self.threshold = momentum, threshold
        found = [(name, conv, q) for name, conv, q in active_quantizers(model) if q.num_bits <= bits]
        sizes = [conv.weight.numel() for _, conv, _ in found]
        device = found[0][1].weight.device if found else None

        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(sum(sizes), dtype=dtype, device=device)

        self._code, self._new, self._direction = zeros(torch.int8), zeros(torch.int8), zeros(torch.int8)
        self._switches, self._by_scale = zeros(torch.int8), zeros(torch.int8)  # since the last `_count`
        self._frequency, self._ratio = zeros(torch.float32), zeros(torch.float32)
        # Layers side by side of one width, mostly all, are clamped together.
        alike = [(bits, sum(conv.weight.numel() for _, conv, _ in run)) for bits, run in groupby(found, _width)]
        parts = torch.split(self._ratio, [size for _, size in alike])
        self._widths = [(part, width) for part, (width, _) in zip(parts, alike, strict=True)]
        self._uncounted = 0  # updates
        self.layers: dict[str, _Layer] = {}
        whole = (self._code, self._direction, self._frequency, self._ratio)
        for (name, conv, quantizer), *views in zip(found, *(torch.split(t, sizes) for t in whole), strict=True):
            code, direction, frequency, ratio = (view.view(conv.weight.shape) for view in views)
            self.layers[name] = _Layer(
                conv=conv,
                quantizer=quantizer,
                code=code.copy_(_codes(conv, quantizer)),
                direction=direction,
                frequency=frequency,
                ratio=ratio,
                scale=layer_scale(quantizer).detach().clone(),
                version=quantizer._amax._version,
                counts=torch.zeros(3, dtype=torch.int64, device=device),
            )

    @torch.no_grad()
    def update(self) -> None:
        """Count what one optimizer step did to every code. Call it once per step, after the step."""
        new, code, direction, oscillated = self._new, self._code, self._direction, self._ratio
        moved = [layer for layer in self.layers.values() if layer.quantizer._amax._version != layer.version]
        if moved:
            # Whose doing was it: would the weight's own change, under the scale of before, have switched the code?
            self._quantize()
            alone = new == code
        for layer in moved:
            layer.scale, layer.version = layer_scale(layer.quantizer).detach(), layer.quantizer._amax._version
        self._quantize()
        step = _signs(code, new)
        # d_t · d_before is -1 where the code went back; a code that stayed has d_t = 0.
        oscillated.copy_((step * direction).neg_().clamp_(min=0))
        self._frequency.mul_(1 - self.momentum).add_(oscillated, alpha=self.momentum)
        switched = step.abs()
        direction.mul_(1 - switched).add_(step)
        self._switches.add_(switched)
        if moved:
            self._by_scale.add_(switched.mul_(alone.view(torch.int8)))
        code.copy_(new)
        self._uncounted += 1
        if self._uncounted == _MOST_UNCOUNTED:
            self._count()

    def _quantize(self) -> None:
        """Codes of every weight under its layer's `scale`, into `_new`: `qat_train.quantizer.codes` in place."""
        for layer in self.layers.values():
            torch.div(layer.conv.weight.detach(), layer.scale, out=layer.ratio)
        self._ratio.round_()
        for ratios, bits in self._widths:
            ratios.clamp_(*code_range(bits))
        self._new.copy_(self._ratio)

    def _count(self) -> None:
        """Add up the switches of each layer, which int8 cannot hold for long."""
        sizes = [layer.code.numel() for layer in self.layers.values()]
        places = zip(torch.split(self._switches, sizes), torch.split(self._by_scale, sizes), strict=True)
        for layer, (switches, by_scale) in zip(self.layers.values(), places, strict=True):
            total, scale = switches.sum(), by_scale.sum()
            layer.counts += torch.stack([total, total - scale, scale])
        self._switches.zero_()
        self._by_scale.zero_()
        self._uncounted = 0

    @torch.no_grad()
    def record(self) -> Oscillation:
        """The state now and the switches since the last record, per layer and over all; they count anew afterwards."""
        self._count()
        layers = {name: _describe(layer, self.threshold) for name, layer in self.layers.items()}
        for layer in self.layers.values():
            layer.counts.zero_()
        return Oscillation(
            momentum=self.momentum, threshold=self.threshold, total=_total(list(layers.values())), layers=layers
        )

    def state(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs, by "<layer>.<name>"."""
        self._count()
        return {f"{name}.{slot}": getattr(layer, slot) for name, layer in self.layers.items() for slot in _STATE}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        self._count()
        for name, layer in self.layers.items():
            for slot in _STATE:
                getattr(layer, slot).copy_(state[f"{name}.{slot}"])


def _width(layer: tuple[str, nn.Conv2d, Any]) -> int:
    bits: int = layer[2].num_bits
    return bits


def _signs(before: Tensor, after: Tensor) -> Tensor:
    """sign(before - after) of int8 tensors, whose difference may be none."""
    return (before > after).view(torch.int8) - (before < after).view(torch.int8)


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
