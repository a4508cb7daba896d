"""Brevitas: weight-only integers of its `Int8WeightPerChannelFloat` family at the run's width.

Narrow range [-(2^(b-1)-1), 2^(b-1)-1]; the scale is the channel's maximum over 2^(b-1)-1, taken anew in every step and
part of the gradient, or a learned parameter that starts there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from brevitas.inject.enum import ScalingImplType
from brevitas.nn import QuantConv2d
from brevitas.quant import (
    Int8WeightPerChannelFloat,
    Int8WeightPerChannelFloatMSE,
    Int8WeightPerTensorFloat,
    Int8WeightPerTensorFloatMSE,
)
from torch import Tensor, nn

from qat_train.peers.base import Peer, QuantizedWeight, replace_module
from qat_train.spec import QuantizationKey

_FAMILY = {
    ("per-channel", "max"): Int8WeightPerChannelFloat,
    ("per-channel", "mse"): Int8WeightPerChannelFloatMSE,
    ("per-tensor", "max"): Int8WeightPerTensorFloat,
    ("per-tensor", "mse"): Int8WeightPerTensorFloatMSE,
}


def _convert(conv: nn.Conv2d, width: int, key: QuantizationKey) -> Any:
    options: dict[str, Any] = {}
    if key.learned or key.init == "mse":  # a scale of least squared error is searched once, so it is a parameter
        options["weight_scaling_impl_type"] = ScalingImplType.PARAMETER_FROM_STATS
    new: Any = QuantConv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        weight_quant=_FAMILY[key.granularity, key.init],
        weight_bit_width=width,
        **options,
    ).to(conv.weight)
    new.weight.data.copy_(conv.weight.data)
    if conv.bias is not None:
        new.bias.data.copy_(conv.bias.data)
    return new


@torch.no_grad()
def insert(
    model: nn.Module,
    bits: Mapping[str, int | None],
    key: QuantizationKey,
    _images: Callable[[], Iterable[Tensor]],
) -> None:
    """Replace the named convolutions by Brevitas', and let each set its scale from its weight."""
    for name, width in bits.items():
        if width is None:
            continue
        conv = model.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        new = _convert(conv, width, key)
        replace_module(model, name, new)
        new.train().quant_weight()  # a scale that is a parameter is set by the first use
        new.train(conv.training)
    if not key.learned:
        for parameter in scales(model):
            parameter.requires_grad_(False)


def weights(model: nn.Module) -> Iterator[QuantizedWeight]:
    """Every layer, as its forward pass sees it."""
    for name, module in model.named_modules():
        if isinstance(module, QuantConv2d) and module.weight_quant.is_quant_enabled:
            found = module.quant_weight()
            yield QuantizedWeight(name=name, bits=int(found.bit_width), used=found.value, scale=found.scale)


def scales(model: nn.Module) -> list[nn.Parameter]:
    """Scales that are parameters."""
    return [p for name, p in model.named_parameters() if name.endswith(".scaling_impl.value")]


PEER = Peer(library="brevitas", insert=insert, weights=weights, inits=("max", "mse"), learns=True, scales=scales)
