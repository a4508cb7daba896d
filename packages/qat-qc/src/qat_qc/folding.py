"""Fold trained corrections away: into the batch norm, or into scale and bias of a convolution without one.

With y = a (h - mu) / sqrt(var + eps) + b and h' = gamma h + beta:

    a' = a gamma,   b' = b + a (beta + (gamma - 1) mu) / sqrt(var + eps)

and without a norm s' = gamma s, w' = gamma w, bias' = gamma bias + beta with gamma > 0. Integer codes never change; a
negative gamma would turn -8 into +8, which int4 does not have.
"""

import os
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from qat_qc.correction import Correction, LayerCorrection, attach
from qat_qc.errors import CorrectionError
from qat_qc.protocol import Grid

_TOLERANCE = 1e-3  # of a tensor's largest value: rounding of a whole network stays far below, a wrong fold far above


@attrs.frozen(kw_only=True)
class Folded:
    """How well the folded model agrees with the corrected one, on one batch, in the worst tensor of the network.

    `max_abs_error` and `max_abs_output` belong to the tensor where their ratio is largest.
    """

    max_abs_error: float
    max_abs_output: float
    codes_changed: int


@torch.no_grad()
def fold(model: nn.Module, correction: Correction, grid: Grid) -> tuple[LayerCorrection, ...]:
    """Fold every correction into the model, in place; arithmetic in float64.

    Returns:
        Layers that could not be folded and stay uncorrected: without a norm, under one scale for the whole tensor.

    Raises:
        CorrectionError: a gamma is not above 0 in the form without a norm, or a code changed.
    """
    skipped = []
    for layer in correction.layers:
        before = grid.codes(layer.name).clone()
        if layer.batch_norm is not None:
            _into_norm(model.get_submodule(layer.batch_norm), layer)
        elif grid.is_per_channel(layer.name):
            _into_convolution(model.get_submodule(layer.name), layer, grid, before)
        else:
            skipped.append(layer)
        changed = int((grid.codes(layer.name) != before).sum())
        if changed:
            raise CorrectionError(f"{layer.name}: folding changed {changed} codes")
    return tuple(skipped)


def _into_norm(norm: Any, layer: LayerCorrection) -> None:
    a, b = norm.weight.double(), norm.bias.double()
    gamma, beta = layer.gamma.double(), layer.beta.double()
    deviation = torch.sqrt(norm.running_var.double() + norm.eps)
    norm.bias.copy_(b + a * (beta + (gamma - 1) * norm.running_mean.double()) / deviation)
    norm.weight.copy_(a * gamma)


def _into_convolution(conv: Any, layer: LayerCorrection, grid: Grid, codes: Tensor) -> None:
    gamma = layer.gamma.double()
    if not bool((gamma > 0).all()):
        raise CorrectionError(f"{layer.name}: gamma must be above 0 to fold into a scale, lowest {float(gamma.min())}")
    column = gamma.view(-1, *[1] * (conv.weight.dim() - 1))
    scale = grid.get_scale(layer.name)
    grid.set_scale(layer.name, (scale.double() * column).to(scale.dtype))
    # From the codes and the scale as it was stored: gamma * w could round to another code at a boundary.
    conv.weight.copy_(codes.to(conv.weight.dtype) * grid.get_scale(layer.name))
    old = conv.bias.double() if conv.bias is not None else torch.zeros_like(gamma)
    new = (gamma * old + layer.beta.double()).to(conv.weight.dtype)
    if conv.bias is None:
        conv.bias = nn.Parameter(new)
    else:
        conv.bias.copy_(new)


@torch.no_grad()
def fold_and_compare(
    model: nn.Module, correction: Correction, grid: Grid, inputs: Tensor
) -> tuple[Folded, tuple[LayerCorrection, ...]]:
    """Fold, and compare every corrected tensor of the network before and after on `inputs`.

    Raises:
        CorrectionError: as `fold`, or a tensor moved by more than a thousandth of its largest value.
    """
    kept = [layer for layer in correction.layers if layer.batch_norm is not None or grid.is_per_channel(layer.name)]
    foldable = Correction(layers=tuple(kept))
    with attach(model, foldable):
        expected = _outputs(model, foldable, inputs)
    skipped = fold(model, correction, grid)
    found = _outputs(model, foldable, inputs)
    worst = Folded(max_abs_error=0.0, max_abs_output=0.0, codes_changed=0)
    ratio = -1.0
    for name, tensor in expected.items():
        error, size = float((found[name] - tensor).abs().max()), float(tensor.abs().max())
        if error > _TOLERANCE * max(size, 1e-12):
            coarse = tensor.is_cuda and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0"
            hint = "; TensorFloat-32 may do that: set NVIDIA_TF32_OVERRIDE=0" if coarse else ""
            raise CorrectionError(
                f"{name}: folding moved the output by {error:.3g}, its largest value is {size:.3g}{hint}"
            )
        if error / max(size, 1e-12) > ratio:
            ratio = error / max(size, 1e-12)
            worst = Folded(max_abs_error=error, max_abs_output=size, codes_changed=0)
    return worst, skipped


def _outputs(model: nn.Module, correction: Correction, inputs: Tensor) -> dict[str, Tensor]:
    """Output of each layer's norm, or of the convolution where it has none, in evaluation mode."""
    kept: dict[str, Tensor] = {}
    handles = []
    for layer in correction.layers:
        name = layer.batch_norm or layer.name

        def keep(_module: nn.Module, _inputs: object, output: Tensor, name: str = name) -> None:
            kept[name] = output.detach().clone()

        handles.append(model.get_submodule(name).register_forward_hook(keep))
    modes = {m: m.training for m in model.modules()}
    try:
        model.eval()
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return kept
