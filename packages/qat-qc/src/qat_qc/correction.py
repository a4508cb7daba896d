"""Per-channel corrections of convolution outputs: h' = gamma * h + beta, attached to a model without changing it.

Gupta & Asthana, "Reducing the Side-Effects of Oscillations in Training of Quantized YOLO Networks" (WACV 2024,
arXiv:2311.05109), section 3.4.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, get_args

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from qat_qc.errors import CorrectionError
from qat_qc.protocol import Layer

Parameter = Literal["gamma", "beta"]
PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)


@attrs.frozen(kw_only=True)
class LayerCorrection:
    """Parameters of one layer, shape (C,) each. `form` says how they fold."""

    name: str
    batch_norm: str | None
    gamma: nn.Parameter
    beta: nn.Parameter

    @property
    def form(self) -> Literal["batch-norm", "bias"]:
        """Where it folds: "batch-norm" into the norm, "bias" into scale and bias of the convolution itself."""
        return "bias" if self.batch_norm is None else "batch-norm"


@attrs.frozen(kw_only=True)
class Correction:
    """Corrections of all layers of a model."""

    layers: tuple[LayerCorrection, ...]

    def parameters(self, names: Collection[Parameter] = PARAMETERS) -> list[nn.Parameter]:
        """Every gamma and beta, or those in `names`; a convolution's own parameters are none of them."""
        by_name = [{"gamma": layer.gamma, "beta": layer.beta} for layer in self.layers]
        return [parameter for layer in by_name for name, parameter in layer.items() if name in names]


def identity(model: nn.Module, layers: Iterable[Layer]) -> Correction:
    """Corrections that change nothing yet: gamma 1, beta 0, in the precision and on the device of each weight.

    Raises:
        CorrectionError: a name is no convolution of the model or comes twice, or a norm does not fit it.
    """
    made: list[LayerCorrection] = []
    modules = dict(model.named_modules())
    for layer in layers:
        for name in (layer.name, layer.batch_norm):
            if name is not None and name not in modules:
                raise CorrectionError(f"{name}: the model has no module of that name")
        if any(known.name == layer.name for known in made):
            raise CorrectionError(f"{layer.name}: named twice; a layer has one correction")
        conv = modules[layer.name]
        if not isinstance(conv, nn.modules.conv._ConvNd) or conv.transposed:
            raise CorrectionError(f"{layer.name}: a convolution is needed, found {type(conv).__name__}")
        channels = conv.out_channels
        if layer.batch_norm is not None:
            norm = modules[layer.batch_norm]
            if not isinstance(norm, _BatchNorm) or norm.running_mean is None or not norm.affine:
                raise CorrectionError(
                    f"{layer.batch_norm}: correcting {layer.name} needs an affine batch norm with running statistics"
                )
            if norm.num_features != channels:
                raise CorrectionError(
                    f"{layer.batch_norm}: {norm.num_features} features, {layer.name} has {channels} channels"
                )
        ones = conv.weight.new_ones(channels)
        made.append(
            LayerCorrection(
                name=layer.name,
                batch_norm=layer.batch_norm,
                gamma=nn.Parameter(ones),
                beta=nn.Parameter(torch.zeros_like(ones)),
            )
        )
    return Correction(layers=tuple(made))


def _channelwise(values: Tensor, output: Tensor) -> Tensor:
    return values.to(output.dtype).view(1, -1, *[1] * (output.dim() - 2))


@contextmanager
def attach(model: nn.Module, correction: Correction) -> Iterator[None]:
    """Apply the corrections to every forward pass inside the block; the model itself stays as it is.

    A correction before a batch norm on its running statistics is one per-channel line with it, and is computed so: two
    would be more passes over each activation, forward and backward. The output of such a convolution itself is not
    corrected, its norm's is.
    """
    with ExitStack() as stack:
        for layer in correction.layers:

            def hook(_module: nn.Module, _inputs: object, output: Tensor, layer: LayerCorrection = layer) -> Tensor:
                return _channelwise(layer.gamma, output) * output + _channelwise(layer.beta, output)

            if layer.batch_norm is None:
                stack.enter_context(_removed(model.get_submodule(layer.name).register_forward_hook(hook)))
            else:
                stack.enter_context(_corrected(model.get_submodule(layer.batch_norm), layer))
        yield


@contextmanager
def _corrected(norm: Any, layer: LayerCorrection) -> Iterator[None]:
    """Let a norm y = w (h - mean) / spread + b take gamma h + beta for h, inside the block."""
    plain = norm.forward

    def forward(output: Tensor) -> Tensor:
        if norm.training:  # its statistics are then those of what it is given
            corrected: Tensor = plain(_channelwise(layer.gamma, output) * output + _channelwise(layer.beta, output))
            return corrected
        # w (gamma h + beta - mean) / spread + b, with h - mean taken out
        moved = layer.gamma * norm.running_mean + layer.beta - norm.running_mean
        bias = norm.bias + norm.weight * moved / torch.sqrt(norm.running_var + norm.eps)
        mean, variance = norm.running_mean, norm.running_var
        return functional.batch_norm(output, mean, variance, norm.weight * layer.gamma, bias, eps=norm.eps)

    norm.__dict__["forward"] = forward
    try:
        yield
    finally:
        del norm.__dict__["forward"]


@contextmanager
def _removed(handle: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def fixed_batch_norm(model: nn.Module) -> Iterator[None]:
    """Keep every batch norm on its running statistics inside the block, whatever mode the model is put in."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    modes = [norm.training for norm in norms]

    def fix(module: nn.Module, _inputs: object) -> None:
        module.training = False  # a pre-hook, because a loss may call model.train() before each forward pass

    with ExitStack() as stack:
        for norm in norms:
            stack.enter_context(_removed(norm.register_forward_pre_hook(fix)))
        try:
            yield
        finally:
            for norm, mode in zip(norms, modes, strict=True):
                norm.training = mode
