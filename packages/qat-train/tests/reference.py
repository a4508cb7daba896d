"""The papers' equations in plain Python and float64 autograd, for the tests that hold the package against them.

Nothing here uses the package's arithmetic. Codes are computed weight by weight with one IEEE fp32 division, because
that is the precision of the grid; frequencies, averages and losses are float64.
"""

import math
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn


def grid(bits):
    """(-Qn, Qp) of a signed grid."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def code(weight, scale, bits):
    """clamp(round(w / s)) of one weight, halves to even."""
    low, high = grid(bits)
    return max(low, min(high, round(float(np.float32(weight) / np.float32(scale)))))


def lsq(weight, scale, bits):
    """Esser et al., "Learned Step Size Quantization" (ICLR 2020), equations 1, 2 and section 2.2; for float64 autograd.

    ŵ = round(clamp(w / s))·s, the rounding passed straight through, the gradient of s times 1/√(N·Qp).
    """
    low, high = grid(bits)
    g = 1 / math.sqrt(weight.numel() / scale.numel() * high)
    scale = scale.detach() + (scale * g - (scale * g).detach())  # the value to the last bit, the gradient times g
    v = weight / scale
    outside = torch.full_like(v, high).where(v > high, torch.full_like(v, low))
    vbar = torch.where((v >= low) & (v <= high), v, outside)  # the bounds inclusive; torch.clamp's ties may differ
    return (vbar + (vbar.round() - vbar).detach()) * scale


def cosine(t, start, first, last):
    """CosineTempDecay of the dampening and freezing code (Nagel et al. 2022)."""
    if t < start:
        return first
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * (t - start) / (1 - start)))


# Models ---------------------------------------------------------------------------------------------------------------


def two_convolutions(granularity="per-channel", *, bits=(4, 4), learned=True, seed=0):
    """A dense and a depth-wise convolution, quantized by the package, the weights drawn from `seed`."""
    from qat_train.insertion import insert_quantizers, learn_scales

    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4))
    insert_quantizers(model, dict(zip("01", bits, strict=True)), granularity)
    if learned:
        learn_scales(model)
    return model


def amax_of(model, name):
    return model.get_submodule(name).weight_quantizer._amax


@torch.no_grad()
def snapshot(model):
    """Per quantized layer: width, weights, and the scale of each weight, as flat lists of floats."""
    found = {}
    for name, module in model.named_modules():
        quantizer = getattr(module, "weight_quantizer", None)
        if quantizer is None or not quantizer.is_enabled:
            continue
        bits, weight = quantizer.num_bits, module.weight
        scale = quantizer._amax.numpy().astype(np.float32) / np.float32(grid(bits)[1])
        shape = (-1, *[1] * (weight.dim() - 1)) if scale.size > 1 else ()
        scales = np.broadcast_to(scale.reshape(shape), weight.shape)
        found[name] = SimpleNamespace(
            bits=bits, weights=weight.reshape(-1).tolist(), scales=scales.reshape(-1).tolist(), shape=weight.shape
        )
    return found


class Disturbance:
    """Moves every weight around where it started and every scale a little, as an optimizer at its end would."""

    def __init__(self, model, seed, *, weights=0.5, scales=0.05):
        self.model, self.weights, self.scales = model, weights, scales
        self.generator = torch.Generator().manual_seed(seed)
        self.start = {n: (m.weight.detach().clone(), amax_of(model, n).detach().clone()) for n, m in self._layers()}

    def _layers(self):
        return [(n, m) for n, m in self.model.named_modules() if hasattr(m, "weight_quantizer")]

    @torch.no_grad()
    def step(self):
        for name, module in self._layers():
            weight, amax = self.start[name]
            step = amax / grid(module.weight_quantizer.num_bits)[1]
            if self.weights:
                noise = torch.randn(weight.shape, generator=self.generator)
                module.weight.copy_(weight + self.weights * noise * step)
            if self.scales:
                noise = torch.randn(amax.shape, generator=self.generator)
                amax_of(self.model, name).copy_(amax * (1 + self.scales * noise).clamp(0.5, 1.5))


# Oscillation and freezing ---------------------------------------------------------------------------------------------


class TrackerReference:
    """Nagel et al., "Overcoming Oscillations in Quantization-Aware Training" (ICML 2022), section 3: one weight after
    another."""

    def __init__(self, model, *, bits=4, momentum=0.01, threshold=0.02):
        self.bits, self.momentum, self.threshold = bits, momentum, threshold
        self.layers = {}
        for name, now in self._tracked(model):
            codes = [code(w, s, now.bits) for w, s in zip(now.weights, now.scales, strict=True)]
            self.layers[name] = [
                SimpleNamespace(code=q, scale=s, direction=0, frequency=0.0)
                for q, s in zip(codes, now.scales, strict=True)
            ]
        self.caused = {name: {"by_weight": 0, "by_scale": 0} for name in self.layers}
        self.now = dict(self._tracked(model))

    def _tracked(self, model):
        return [(name, layer) for name, layer in snapshot(model).items() if layer.bits <= self.bits]

    def update(self, model):
        self.now = dict(self._tracked(model))
        for name, weights in self.layers.items():
            now = self.now[name]
            for weight, w, s in zip(weights, now.weights, now.scales, strict=True):
                q = code(w, s, now.bits)
                oscillated = False
                if q != weight.code:
                    direction = 1 if weight.code > q else -1
                    oscillated = direction * weight.direction == -1
                    weight.direction = direction
                    cause = "by_weight" if code(w, weight.scale, now.bits) != weight.code else "by_scale"
                    self.caused[name][cause] += 1
                weight.frequency = self.momentum * oscillated + (1 - self.momentum) * weight.frequency
                weight.code, weight.scale = q, s

    def record(self):
        """{path or None for the total: the numbers of `LayerOscillation`}; begins the next epoch."""
        found = {name: self._numbers([name]) for name in self.layers}
        found[None] = self._numbers(list(self.layers))
        for caused in self.caused.values():
            caused.update(by_weight=0, by_scale=0)
        return found

    def _numbers(self, names):
        frequencies = [weight.frequency for name in names for weight in self.layers[name]]
        assert min(abs(f - self.threshold) for f in frequencies) > 1e-7, "a frequency the precision of which decides"
        by_weight, by_scale = (sum(self.caused[n][cause] for n in names) for cause in ("by_weight", "by_scale"))
        distance = [0] * 10
        for name in names:
            layer = self.now[name]
            low, high = grid(layer.bits)
            for w, s in zip(layer.weights, layer.scales, strict=True):
                nearest = min(abs(w / s - (k + 0.5)) for k in range(low, high))
                distance[min(int(nearest / 0.05), 9)] += 1
        return {
            "weights": len(frequencies),
            "frequency": sum(frequencies) / len(frequencies),
            "share": sum(f > self.threshold for f in frequencies) / len(frequencies),
            "switches": by_weight + by_scale,
            "by_weight": by_weight,
            "by_scale": by_scale,
            "distance": distance,
        }


class FreezingReference:
    """The same paper, section 4.2: a weight whose frequency passes the threshold keeps its average code for ever."""

    def __init__(self, tracker, strength):
        self.tracker, self.strength = tracker, strength
        self.frozen = {name: [None] * len(weights) for name, weights in tracker.layers.items()}
        self.average = {name: [None] * len(weights) for name, weights in tracker.layers.items()}
        self.narrowest = math.inf  # how near a decision came to the precision of fp32

    def constrained(self, model):
        """{path: fp32 tensor}: the weights after a step, those that are frozen at code times scale."""
        found = {}
        for name, layer in snapshot(model).items():
            codes = self.frozen.get(name, [None] * len(layer.weights))
            values = [
                w if q is None else float(np.float32(q) * np.float32(s))
                for q, w, s in zip(codes, layer.weights, layer.scales, strict=True)
            ]
            found[name] = torch.tensor(values, dtype=torch.float32).reshape(layer.shape)
        return found

    def after_step(self, progress):
        if progress < 0.25:
            return
        threshold = cosine(progress, 0.25, 0.1, self.strength)
        for name, weights in self.tracker.layers.items():
            for i, weight in enumerate(weights):
                average = self.average[name][i]
                average = weight.code if average is None else average
                self.narrowest = min(self.narrowest, abs(weight.frequency - threshold))
                if self.frozen[name][i] is None and weight.frequency > threshold:
                    self.frozen[name][i] = round(average)
                    self.narrowest = min(self.narrowest, abs(average - math.floor(average) - 0.5))
                m = self.tracker.momentum
                self.average[name][i] = m * weight.code + (1 - m) * average

    def count(self):
        return sum(q is not None for codes in self.frozen.values() for q in codes)
