"""Scales, and weights, set by what each layer is given: one forward pass in which every convolution is met once.

A hook before each convolution sees inputs that the quantized layers before it have made, sets its scale (and moves its
weights, see `qat_train.gptq`), and lets the pass go on. So no layer is calibrated on inputs that it will never see, and
one pass is enough.
"""

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from qat_train.detector import norm_after
from qat_train.errors import InputError
from qat_train.evaluator import evaluation_mode
from qat_train.gptq import compensate, least_error_amax
from qat_train.insertion import active_quantizers, initialise_scales, layer_codes, layer_scale

logger = logging.getLogger(__name__)

IMAGES = 64  # one batch; its activations are held at once (640 px, yolov10m: some 5 GB)
_AT_A_TIME = 4  # images whose inputs are laid out as columns, which repeats each of them once per place of the kernel


@torch.no_grad()
def calibrate(model: Any, images: Iterable[Tensor], *, move_weights: bool) -> None:
    """Set the scale of every quantized convolution for the least error of its outputs, in place.

    Args:
        model: with quantizers, in evaluation mode during the call; a convolution that `images` do not reach gets the
            scale of least squared error of its weights.
        images: batches (B, 3, H, W) in [0, 1] on the model's device; the first `IMAGES` of them.
        move_weights: also move weights by GPTQ, and batch norms' statistics and biases by what is left of the change.

    Raises:
        InputError: a layer's weights or inputs are not finite; the text names it.
    """
    batch = _first(images, IMAGES)
    missed = set()
    hooks = []
    for name, conv, quantizer in active_quantizers(model):

        def meet(conv: Any, inputs: tuple[Tensor], name: str = name, quantizer: Any = quantizer) -> None:
            if name in missed:
                missed.discard(name)
                _set(name, conv, quantizer, inputs[0], norm_after(model, name), move_weights=move_weights)

        missed.add(name)
        hooks.append(conv.register_forward_pre_hook(meet))
    try:
        with evaluation_mode(model):
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if missed:
        initialise_scales(model, "mse", only=missed)
        logger.warning("calibration images do not reach %s; their scales come from the weights alone", sorted(missed))


def _set(
    name: str, conv: nn.Conv2d, quantizer: Any, inputs: Tensor, norm: nn.BatchNorm2d | None, *, move_weights: bool
) -> None:
    """Scale, weights and statistics of one layer."""
    original = conv.weight.detach().clone()
    weight = original.reshape(conv.groups, conv.out_channels // conv.groups, -1).float()
    moments = second_moments(conv, inputs)
    if not bool(moments.isfinite().all() & weight.isfinite().all()):
        raise InputError(f"{name}: weights or inputs are not finite; there is no scale for them")
    per_channel = quantizer.axis is not None
    amax = least_error_amax(weight, quantizer.num_bits, moments, per_channel=per_channel)
    quantizer._amax.copy_(amax.reshape(quantizer._amax.shape))
    if not move_weights:
        return
    scale = layer_scale(quantizer)
    scale = scale.reshape(*weight.shape[:2], 1) if per_channel else scale
    conv.weight.copy_(compensate(weight, scale, quantizer.num_bits, moments).reshape(original.shape))
    _shift_statistics(conv, original, layer_codes(conv, quantizer) * layer_scale(quantizer), inputs, norm)


def _shift_statistics(
    conv: nn.Conv2d, original: Tensor, quantized: Tensor, inputs: Tensor, norm: nn.BatchNorm2d | None
) -> None:
    """Keep mean (and variance, where a batch norm follows) of what the layer hands on.

    Bias correction (Nagel et al., arXiv 1906.04721, section 4.2), measured on images; in the statistics of a
    batch norm that follows. They are shifted, not estimated anew: a few images would replace all of training.
    """

    def mean_and_variance(weight: Tensor) -> tuple[Tensor, Tensor]:
        outputs = functional.conv2d(inputs, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
        return outputs.mean(dim=(0, 2, 3)), outputs.var(dim=(0, 2, 3), correction=0)

    (mean, variance), (new_mean, new_variance) = mean_and_variance(original), mean_and_variance(quantized)
    if norm is not None and norm.running_mean is not None and norm.running_var is not None:
        ratio = torch.where((variance > 0) & (new_variance > 0), new_variance / variance, 1.0)
        norm.running_mean.copy_(new_mean - (mean - norm.running_mean) * ratio.sqrt())
        norm.running_var.copy_(((norm.running_var + norm.eps) * ratio - norm.eps).clamp(min=0.0))
    elif conv.bias is not None:
        conv.bias += mean - new_mean


def second_moments(conv: nn.Conv2d, inputs: Tensor) -> Tensor:
    """E[x xᵀ] over every place of every image, x the inputs that one output is made of; shape (G, K, K), fp32.

    Args:
        conv: of K weights per output channel and G groups.
        inputs: shape (B, C, H, W).
    """
    assert not isinstance(conv.padding, str), "Ultralytics pads by numbers"
    total = torch.zeros((), device=inputs.device)
    places = 0
    for some in torch.split(inputs.float(), _AT_A_TIME):
        columns = functional.unfold(some, conv.kernel_size, conv.dilation, conv.padding, conv.stride)  # (B, C·k·k, L)
        columns = columns.reshape(len(some), conv.groups, -1, columns.shape[2])
        columns = columns.permute(1, 2, 0, 3).flatten(2)  # (G, K, B·L)
        total = total + columns @ columns.transpose(1, 2)
        places += columns.shape[2]
    return total / places


def _first(batches: Iterable[Tensor], count: int) -> Tensor:
    """The first `count` images, or as many as there are."""
    kept: list[Tensor] = []
    for batch in batches:
        kept.append(batch)
        if sum(len(one) for one in kept) >= count:
            break
    return torch.cat(kept)[:count]
