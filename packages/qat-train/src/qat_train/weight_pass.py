"""Every quantized weight of a training pass in one node of the graph, and past ModelOpt's own bookkeeping.

A quantizer called layer by layer costs more in Python, in ModelOpt and in autograd, than in arithmetic: hundreds of
small calls in each direction of every step. Here they are computed together when the pass begins, by the functions of
`qat_train.quantizer` that every other path uses.
"""

import functools
from typing import Any

import torch
from torch import Tensor, nn

from qat_train.insertion import active_quantizers
from qat_train.quantizer import code_range, ratio_and_codes, scale_from_amax, scale_gradient, weight_gradient


class _QuantizeAll(torch.autograd.Function):
    """(bits of each layer, every weight, every amax) -> every ŵ; the gradients are those of the single layer's node."""

    @staticmethod
    def forward(ctx: Any, bits: tuple[int, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(bits)
        ratios, learned, used = [], {}, []
        for i, (weight, amax, width) in enumerate(zip(tensors[:count], tensors[count:], bits, strict=True)):
            scale = scale_from_amax(amax.float(), width)
            ratio, code = ratio_and_codes(weight.float(), scale, width)
            ratios.append(ratio)
            if ctx.needs_input_grad[1 + count + i]:
                learned[i] = (code, scale.shape)
                used.append(code * scale)
            else:
                used.append(code.mul_(scale))
        ctx.save_for_backward(*ratios, *(code for code, _ in learned.values()))
        ctx.bits, ctx.shapes = bits, {i: shape for i, (_, shape) in learned.items()}
        ctx.set_materialize_grads(False)  # a layer that the loss did not need
        return tuple(used)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        count = len(ctx.bits)
        ratios, codes = ctx.saved_tensors[:count], dict(zip(ctx.shapes, ctx.saved_tensors[count:], strict=True))
        weights: list[Tensor | None] = [None] * count
        amaxes: list[Tensor | None] = [None] * count
        for i, (grad, ratio, width) in enumerate(zip(grad_outputs, ratios, ctx.bits, strict=True)):
            if grad is None:
                continue
            weights[i] = weight_gradient(grad, ratio, width)
            if i in codes:
                scale = scale_gradient(grad, ratio, codes[i], width, ctx.shapes[i])
                amaxes[i] = scale / code_range(width)[1]  # s = amax / (2^(b-1)-1)
        return (None, *weights, *amaxes)


class WeightPass:
    """Hooks on a model that quantize all its weights at the start of each training pass.

    Until the pass ends each quantized convolution computes with the weight that is ready. Evaluation, and whatever
    calls a layer outside a training pass, goes through ModelOpt's quantizers as ever. Build it after the model has been
    copied for an average: a copy would share the hooks.
    """

    def __init__(self, model: nn.Module) -> None:
        """Args: model: with our quantizers in place, their scales made parameters if they are to be learned."""
        layers = [(conv, quantizer) for _, conv, quantizer in active_quantizers(model) if _weights_alone(conv)]
        self._bits = tuple(quantizer.num_bits for _, quantizer in layers)
        self._amaxes = [quantizer._amax for _, quantizer in layers]
        self._weights = [conv.weight for conv, _ in layers]  # outside a pass, the parameter itself
        self._convolutions = [(conv, conv._conv_forward, conv.bias) for conv, _ in layers]
        if layers:
            model.register_forward_pre_hook(self._begin)
            model.register_forward_hook(self._end, always_call=True)

    def _begin(self, model: nn.Module, _inputs: Any) -> None:
        if not (model.training and torch.is_grad_enabled()):
            return
        ready = _QuantizeAll.apply(self._bits, *self._weights, *self._amaxes)
        for (conv, convolve, bias), weight in zip(self._convolutions, ready, strict=True):
            # Into __dict__, where an instance's attribute goes before its class's: ModelOpt records what is set.
            conv.__dict__["forward"] = functools.partial(convolve, weight=weight, bias=bias)

    def _end(self, _model: nn.Module, _inputs: Any, _output: Any) -> None:
        for conv, _, _ in self._convolutions:
            conv.__dict__.pop("forward", None)


def _weights_alone(conv: Any) -> bool:
    """Whether nothing but the weight of a layer is quantized, so that its forward pass is a plain convolution."""
    return not (conv.input_quantizer.is_enabled or conv.output_quantizer.is_enabled)
