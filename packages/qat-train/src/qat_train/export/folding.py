"""A quantized detector as deployed: one2one head alone, batch norm in scales and biases, codes untouched.

With s the scale of a channel, y = γ (h - μ) / √(σ² + ε) + β over h = s·(q * x) + b, and a = γ / √(σ² + ε):

    s' = a·s,   b' = a·(b - μ) + β

in float64, rounded once to float32. The codes q are the trained ones, -8 and negative γ included: the sign stays in the
scale. Ultralytics' `fuse` would multiply the latent weight by a instead, which moves codes.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qat_train.detector import norm_after, set_head
from qat_train.errors import InputError, TrainError
from qat_train.export.network import About, Convolution, Layer, Network
from qat_train.insertion import active_quantizers, assert_on_grid, layer_codes, layer_scale


@torch.no_grad()
def fold_detector(model: Any, about: About, *, quantized_layers: int) -> Network:
    """The deployed network of a detector, which stays as it is.

    Args:
        model: a quantized YOLOv10 detector, in fp32.
        about: what to say of it.
        quantized_layers: how many weight quantizers must be active.

    Raises:
        OffGrid: a quantizer is missing, off, or returns what is not on its grid.
        InputError: nothing is quantized, there is no one2one head, or a parameter is not finite.
        TrainError: a batch norm follows no convolution.
    """
    if not quantized_layers:
        raise InputError(f"{about.run_id}: a floating-point run has no codes to export; use Ultralytics' own exporter")
    assert_on_grid(model, quantized_layers)
    if set_head(model) != "one2one":
        raise InputError(f"{about.run_id}: {about.variant} has no one2one head; only NMS-free detectors are exported")
    quantizers = {name: quantizer for name, _, quantizer in active_quantizers(model)}
    layers, norms = [], 0
    for name, conv in deployed_convolutions(model):
        norm = norm_after(model, name)
        norms += norm is not None
        try:
            layers.append(_fold(name, conv, norm, quantizers.get(name)))
        except ValueError as error:
            raise InputError(f"{about.run_id}: {error}") from error
    left = sum(isinstance(m, nn.BatchNorm2d) and not dropped(model, n) for n, m in model.named_modules()) - norms
    if left:
        raise TrainError(f"{left} batch norms follow no convolution and cannot be folded")
    return Network(about=about, layers=tuple(layers))


def dropped(model: Any, name: str) -> bool:
    """Whether a module belongs to the one2many branches, which serve training alone."""
    head = f"model.{len(model.model) - 1}"
    return name.startswith((f"{head}.cv2.", f"{head}.cv3."))


def deployed_convolutions(model: Any) -> list[tuple[str, nn.Conv2d]]:
    """(path, convolution) of all that inference uses, in the order of the modules."""
    return [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and not dropped(model, n)]


def _fold(name: str, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, quantizer: Any) -> Layer:
    factor = torch.ones(conv.out_channels, dtype=torch.float64)
    bias = conv.bias.double() if conv.bias is not None else torch.zeros_like(factor)
    if norm is not None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        bias = factor * (bias - norm.running_mean.double()) + norm.bias.double()
    scale = None
    if quantizer is None:
        values = _float32(conv.weight.double() * factor[:, None, None, None])
    else:
        values = layer_codes(conv, quantizer).numpy()
        scale = _float32(factor * layer_scale(quantizer).double().reshape(-1))  # one scale per tensor broadcasts
    assert not isinstance(conv.padding, str)  # Ultralytics pads by numbers
    convolution = Convolution(
        name=name,
        bits=None if quantizer is None else int(quantizer.num_bits),
        shape=tuple(conv.weight.shape),
        bias=conv.bias is not None or norm is not None,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
    )
    return Layer(convolution=convolution, values=values, scale=scale, bias=_float32(bias) if convolution.bias else None)


def _float32(tensor: Tensor) -> Any:
    return np.ascontiguousarray(tensor.float().numpy())
