"""ModelOpt's quantizers in a detector: insertion, scales, and the guard that they are on and on the grid."""

from collections.abc import Container, Iterator, Mapping
from typing import Any, Literal

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.quantization.nn import (
    is_registered_quant_backend,
    register_quant_backend,
)
from torch import Tensor, nn

from qat_train.detector import conv_kind
from qat_train.errors import InputError, TrainError
from qat_train.quantizer import (
    SMALLEST_AMAX,
    amax_from_scale,
    codes,
    fake_quantize,
    initial_amax,
    learned_fake_quantize,
    scale_from_amax,
)
from qat_train.run import QuantizedLayer

BACKEND = "qat-train"

Granularity = Literal["per-channel", "per-tensor"]


class OffGrid(InputError):
    """A model about to be evaluated, folded or exported does not use its quantized weights (exit 3)."""


def _backend(inputs: Tensor, quantizer: Any) -> Tensor:
    quantize = learned_fake_quantize if is_learned(quantizer) else fake_quantize
    return quantize(inputs, scale_from_amax(quantizer._amax, quantizer.num_bits), quantizer.num_bits)


def insert_quantizers(model: nn.Module, bits: Mapping[str, int | None], granularity: Granularity) -> None:
    """Replace the named convolutions by ModelOpt's, in place, with amax = max |w|.

    ModelOpt stores bits, axis and amax; its forward calls our backend, so that one function decides every code
    (ModelOpt's own kernels multiply by a reciprocal and disagree on a few).

    Args:
        model: a floating-point detector.
        bits: width of each convolution by path; None leaves it in float.
        granularity: one scale per output channel, or one per tensor.
    """
    if not is_registered_quant_backend(BACKEND):
        register_quant_backend(BACKEND, _backend)
    rules = weight_rules(bits, granularity, backend=BACKEND)
    mtq.quantize(model, {"quant_cfg": rules, "algorithm": "max"}, forward_loop=None)
    found = {name for name, _, _ in active_quantizers(model)}
    wanted = {name for name, width in bits.items() if width is not None}
    if found != wanted:
        raise TrainError(f"quantizers are active on {sorted(found ^ wanted)[:5]} against the policy")


def weight_rules(bits: Mapping[str, int | None], granularity: Granularity, **cfg: Any) -> list[dict[str, Any]]:
    """ModelOpt's `quant_cfg` for the weights of the named layers alone; `cfg` is added to each quantizer's own."""
    axis = 0 if granularity == "per-channel" else None
    return [{"quantizer_name": "*", "enable": False}] + [
        {"quantizer_name": f"{name}.weight_quantizer", "cfg": {"num_bits": width, "axis": axis, **cfg}}
        for name, width in bits.items()
        if width is not None
    ]


def active_quantizers(model: nn.Module) -> Iterator[tuple[str, Any, Any]]:
    """(path, convolution, weight quantizer) of every layer whose weight is quantized now."""
    for name, module in model.named_modules():
        quantizer = getattr(module, "weight_quantizer", None)
        if quantizer is not None and isinstance(module, nn.Conv2d) and quantizer.is_enabled:
            yield name, module, quantizer


@torch.no_grad()
def initialise_scales(model: nn.Module, init: str, *, only: Container[str] | None = None) -> None:
    """Set every amax, or those of the layers in `only`, from the weights alone, by "max" or "mse"."""
    for name, conv, quantizer in active_quantizers(model):
        if only is not None and name not in only:
            continue
        amax = initial_amax(conv.weight, quantizer.num_bits, init=init, per_channel=quantizer.axis is not None)
        quantizer._amax.copy_(amax.reshape(quantizer._amax.shape))


def is_learned(quantizer: Any) -> bool:
    """Whether the scale of a quantizer is a parameter, which a gradient changes."""
    return isinstance(quantizer._amax, nn.Parameter)


def learn_scales(model: nn.Module) -> None:
    """Make every amax a parameter, in place. Call it before an average or an optimizer is built.

    ModelOpt keeps amax as a buffer and gives it no gradient. As a parameter of the same name it has the same key in the
    state dict, so averages, our checkpoints and ModelOpt's restore treat a learned scale like a fixed one.
    """
    for _, _, quantizer in active_quantizers(model):
        if not is_learned(quantizer):
            amax = quantizer._amax
            del quantizer._buffers["_amax"]
            quantizer.register_parameter("_amax", nn.Parameter(amax.detach().clone()))


def scale_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Every learned amax, in the order of the layers."""
    return [quantizer._amax for _, _, quantizer in active_quantizers(model) if is_learned(quantizer)]


@torch.no_grad()
def keep_scales_positive(model: nn.Module) -> None:
    """Clamp learned scales from below: a step across zero would mirror every code of a channel."""
    for amax in scale_parameters(model):
        amax.clamp_(min=SMALLEST_AMAX)


def layer_scale(quantizer: Any) -> Tensor:
    """Scale of one quantizer, shape (C, 1, 1, 1) or ()."""
    return scale_from_amax(quantizer._amax, quantizer.num_bits)


@torch.no_grad()
def set_layer_scale(quantizer: Any, scale: Tensor) -> None:
    """Store a scale; `layer_scale` returns what was stored (see `amax_from_scale` for the last bit)."""
    quantizer._amax.copy_(amax_from_scale(scale.to(quantizer._amax), quantizer.num_bits).reshape(quantizer._amax.shape))


@torch.no_grad()
def layer_codes(conv: nn.Conv2d, quantizer: Any) -> Tensor:
    """Integer codes of one layer's weight, int8, shape of the weight."""
    return codes(conv.weight.detach(), layer_scale(quantizer), quantizer.num_bits).to(torch.int8)


@torch.no_grad()
def assert_on_grid(model: nn.Module, expected: int) -> None:
    """Prove that the weights a forward pass uses are codes times scale.

    Args:
        model: the model about to be used.
        expected: how many layers the policy quantizes; 0 for a floating-point model.

    Raises:
        OffGrid: a quantizer is missing, off, or returns something that is not on its grid; the text names the layer.
    """
    count = 0
    for name, conv, quantizer in active_quantizers(model):
        used = quantizer(conv.weight)
        on_grid = codes(conv.weight, layer_scale(quantizer), quantizer.num_bits) * layer_scale(quantizer)
        if not torch.equal(used, on_grid):
            raise OffGrid(f"{name}: the weight in use is off the {quantizer.num_bits}-bit grid")
        count += 1
    if count != expected:
        raise OffGrid(f"{count} quantizers are active, the policy has {expected}; was the model fused or restored?")


def describe_layers(model: nn.Module, bits: Mapping[str, int | None]) -> tuple[QuantizedLayer, ...]:
    """What was quantized, layer by layer."""
    modules = dict(model.named_modules())
    return tuple(
        QuantizedLayer(name=name, type=structural_type(model, name), bits=width, elements=modules[name].weight.numel())
        for name, width in bits.items()
    )


def structural_type(model: nn.Module, name: str) -> str:
    """Where a convolution sits and what it is, such as "C2fCIB.CIB.RepVGGDW depthwise 7x7".

    Variants of one detector are built from different blocks; two layers of one structural type are met by the same
    arithmetic, wherever they are in the graph. Containers, and the Conv block that most convolutions live in, are
    left out.
    """
    parts = name.split(".")
    conv = model.get_submodule(name)
    assert isinstance(conv, nn.Conv2d)
    around = (model.get_submodule(".".join(parts[:end])) for end in range(1, len(parts)))
    blocks = [type(m).__name__ for m in around if not isinstance(m, nn.Sequential | nn.ModuleList)]
    kind = conv_kind(conv)
    size = "x".join(map(str, conv.kernel_size))
    return f"{'.'.join(b for b in blocks if b != 'Conv') or 'Conv'} {kind} {size}"
