"""The integer grid: the one place where the code of a weight is defined.

Symmetric signed grid of b bits: codes q in [-2^(b-1), 2^(b-1)-1], weight ŵ = s·q, scale s = amax / (2^(b-1)-1).
That is ModelOpt's range (int4: [-8, 7] with s = amax / 7). Training, evaluation, folding and export all call `codes`;
kernels that multiply by a reciprocal or round otherwise disagree with each other on a few codes.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# The step of the search for the scale of least squared error. ModelOpt's own default grid (0.25 to 4 by 0.1) is too
# coarse for 4 bits.
MSE_MULTIPLIERS = tuple(round(0.30 + 0.02 * i, 2) for i in range(46))  # 0.30 ... 1.20
SMALLEST_AMAX = 1e-8  # a channel of zeros still gets a positive scale


def code_range(bits: int) -> tuple[int, int]:
    """Lowest and highest code, (-2^(b-1), 2^(b-1)-1).

    >>> code_range(4)
    (-8, 7)
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must lie in [2, 8], found {bits}")
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def scale_from_amax(amax: Tensor, bits: int) -> Tensor:
    """Scale of the grid whose highest code stands for `amax`, in fp32 or wider."""
    return amax / code_range(bits)[1]


def amax_from_scale(scale: Tensor, bits: int) -> Tensor:
    """The amax whose scale is `scale`, to the last bit wherever there is one.

    A product and a quotient need not cancel in floating point; then a neighbour of the product does. Not every float
    is a quotient by 2^(b-1)-1: for the others the scale comes back within one unit in the last place, so a caller
    that has to be exact reads the stored scale back.
    """
    high = code_range(bits)[1]
    amax = product = scale * high
    for neighbour in (torch.nextafter(product, product * 2), torch.nextafter(product, product * 0)):
        amax = torch.where((amax / high != scale) & (neighbour / high == scale), neighbour, amax)
    return amax


def codes(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Integer codes of a weight, as floats: clamp(round(w / s)), halves to even.

    Args:
        weight: any shape, fp32 or wider.
        scale: broadcasts against `weight`: shape () per tensor, (C, 1, 1, 1) per output channel.
        bits: 2 to 8.
    """
    low, high = code_range(bits)
    return torch.clamp(torch.round(weight / scale), low, high)


@functools.cache
def _just_outside(bits: int) -> tuple[float, float]:
    """The fp32 neighbours of the code range, outward: torch's hardtanh passes no gradient at its own limits."""
    low, high = (torch.tensor(float(code)) for code in code_range(bits))
    return float(torch.nextafter(low, low * 2)), float(torch.nextafter(high, high * 2))


def ratio_and_codes(weight: Tensor, scale: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """(v, q): v = w/s, which the gradients need, and the codes, bit-equal to `codes`; both as fp32.

    Clamping first is the same on whole limits, and lets the rounding run in place: on a CPU the memory of large
    temporaries costs more than their arithmetic.
    """
    ratio = weight / scale
    return ratio, torch.clamp(ratio, *code_range(bits)).round_()


def weight_gradient(grad: Tensor, ratio: Tensor, bits: int) -> Tensor:
    """∂L/∂w from ∂L/∂ŵ: straight through, with clip mask, ∂ŵ/∂w = 1[-2^(b-1) <= v <= 2^(b-1)-1].

    Without the mask clipped weights keep drifting outward (hustzxd/LSQuantization#1: 60 % instead of 70 % top-1).
    One kernel, which needs no mask in memory; a mask of booleans would be converted weight by weight.
    """
    result: Tensor = torch.ops.aten.hardtanh_backward(grad, ratio, *_just_outside(bits))
    return result


def scale_gradient(grad: Tensor, ratio: Tensor, code: Tensor, bits: int, shape: torch.Size) -> Tensor:
    """∂L/∂s from ∂L/∂ŵ (LSQ, Esser et al., arXiv 1902.08153, equations 3 and 5); see `learned_fake_quantize`.

    The gradient is the paper's, not that of torch's own kernel: at a weight exactly on the clip edge the two differ.
    """
    # g = 1/√(N·Qp): the step of w and of s then match
    damping = 1 / math.sqrt(ratio.numel() / max(1, shape.numel()) * code_range(bits)[1])
    masked = weight_gradient(ratio, ratio, bits)  # v inside the range, else 0: a code at the limit stays there
    return torch.sub(code, masked, out=masked).mul_(grad).sum_to_size(shape) * damping


class _FakeQuantize(torch.autograd.Function):
    """ŵ = s·codes(w), differentiable with respect to w."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, bits: int) -> Tensor:
        ratio, code = ratio_and_codes(weight, scale, bits)
        ctx.save_for_backward(ratio)
        ctx.bits = bits
        return code.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (ratio,) = ctx.saved_tensors
        return weight_gradient(grad_outputs[0], ratio, ctx.bits), None, None


def fake_quantize(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Weight on the grid, differentiable with respect to `weight`; bit-equal to `codes(...) * scale`.

    The arithmetic is fp32 also under autocast: rounding w/s in half precision would move codes.
    """
    with torch.autocast(weight.device.type, enabled=False):
        result: Tensor = _FakeQuantize.apply(weight.float(), scale.float(), bits)
        return result


class _LearnedFakeQuantize(torch.autograd.Function):
    """ŵ = s·codes(w), differentiable with respect to w and s."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, bits: int) -> Tensor:
        ratio, code = ratio_and_codes(weight, scale, bits)
        ctx.save_for_backward(ratio, code)
        ctx.bits, ctx.shape = bits, scale.shape
        return code * scale

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        ratio, code = ctx.saved_tensors
        grad = grad_outputs[0]
        return weight_gradient(grad, ratio, ctx.bits), scale_gradient(grad, ratio, code, ctx.bits, ctx.shape), None


def learned_fake_quantize(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Weight on the grid, differentiable with respect to `weight` and `scale`; bit-equal to `codes(...) * scale`.

    With v = w/s, Qn = 2^(b-1), Qp = 2^(b-1)-1:  ∂ŵ/∂w = 1[-Qn <= v <= Qp];  ∂ŵ/∂s = g·(round(v) - v) inside that range,
    -g·Qn below and g·Qp above it, g = 1/√(N·Qp) with N weights per scale.

    Args:
        weight: any shape; the arithmetic is fp32 also under autocast.
        scale: above 0, shape () or (C, 1, 1, 1).
        bits: 2 to 8.
    """
    with torch.autocast(weight.device.type, enabled=False):
        result: Tensor = _LearnedFakeQuantize.apply(weight.float(), scale.float(), bits)
        return result


def _axes(weight: Tensor, per_channel: bool) -> tuple[int, ...]:
    return tuple(range(1 if per_channel else 0, weight.ndim))


def largest_weight(weight: Tensor, *, per_channel: bool) -> Tensor:
    """Largest |w| of each scale's weights, at least `SMALLEST_AMAX`; shape (C, 1, ..., 1), or () per tensor."""
    axes = _axes(weight, per_channel)
    return weight.detach().abs().amax(dim=axes, keepdim=per_channel).clamp(min=SMALLEST_AMAX)


def initial_amax(weight: Tensor, bits: int, *, init: str, per_channel: bool) -> Tensor:
    """Amax from the weights alone.

    Args:
        weight: shape (C, ...), output channels first.
        bits: 2 to 8.
        init: "max", or "mse" for the multiple of the maximum in `MSE_MULTIPLIERS` with the least Σ(ŵ - w)².
        per_channel: one amax per output channel, or one for the tensor.

    Returns:
        shape (C, 1, ..., 1), or () per tensor; at least `SMALLEST_AMAX`.
    """
    weight = weight.detach()
    largest = largest_weight(weight, per_channel=per_channel)
    if init == "max":
        return largest
    if init != "mse":
        raise ValueError(f"init must be 'max' or 'mse', found {init!r}")
    axes = _axes(weight, per_channel)

    def error(amax: Tensor) -> Tensor:
        scale = scale_from_amax(amax, bits)
        return (codes(weight, scale, bits) * scale - weight).square().sum(dim=axes, keepdim=per_channel)

    return best_multiple(largest, MSE_MULTIPLIERS, error)


def best_multiple(largest: Tensor, multipliers: Sequence[float], error: Callable[[Tensor], Tensor]) -> Tensor:
    """Of each entry, its multiple with the least error; the entry itself among equals, as in a channel of zeros.

    Args:
        largest: amax that clips nothing, any shape.
        multipliers: what it is tried with, 1.0 among them.
        error: of an amax of that shape, in its shape.
    """
    best = largest
    least = torch.full_like(largest, float("inf"))
    for multiplier in sorted(multipliers, key=lambda m: m != 1.0):
        amax = largest * multiplier
        found = error(amax)
        better = found < least
        least = torch.where(better, found, least)
        best = torch.where(better, amax, best)
    return best
