"""What a peer has to say about itself, and the guard that it does quantize."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, nn

from qat_train.errors import SpecError
from qat_train.insertion import OffGrid
from qat_train.quantizer import code_range
from qat_train.spec import QuantizationKey

# Codes are recovered by a division, so they are whole to rounding error alone; a float weight is off by up to a half.
_OFF_GRID = 1e-3


@attrs.frozen(kw_only=True, eq=False)
class QuantizedWeight:
    """What one layer's forward pass multiplies with. `scale` broadcasts against `used`, codes are used / scale."""

    name: str
    bits: int
    used: Tensor
    scale: Tensor


Insert = Callable[[nn.Module, Mapping[str, int | None], QuantizationKey, Callable[[], Iterable[Tensor]]], None]


@attrs.frozen(kw_only=True)
class Peer:
    """A library's quantizer.

    `insert` puts it into a floating-point model, in place: widths by layer (None: float), the run's keys, and a
    function that gives batches of training images, for a library that calibrates activations. `weights` lists what is
    quantized. `inits` and `learns` say which keys it can honour. `choose` names layers and widths where the library
    decides that itself, against our policy. `scales` lists learned scales.
    """

    library: Literal["nvidia-modelopt, stock", "torch.ao", "brevitas", "ultralytics"]
    insert: Insert
    weights: Callable[[nn.Module], Iterator[QuantizedWeight]]
    inits: tuple[str, ...] = ("max",)
    learns: bool = False
    widths: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    per_tensor: bool = True
    activation_bits: int | None = None
    choose: Callable[[Any], dict[str, int | None]] | None = None
    scales: Callable[[nn.Module], list[nn.Parameter]] = lambda _: []

    def check(self, key: QuantizationKey) -> None:
        """Refuse keys that the library has no counterpart of: a row must be what its record says.

        Raises:
            SpecError: naming key, value, and what is allowed.
        """
        for name, value, allowed in (
            ("init", key.init, self.inits),
            ("learned", key.learned, (False, True) if self.learns else (False,)),
            ("bits", key.bits, self.widths),
            ("granularity", key.granularity, ("per-channel", "per-tensor") if self.per_tensor else ("per-channel",)),
        ):
            if value not in allowed:
                listed = ", ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in allowed)
                raise SpecError(
                    f"quantization.{name} = {str(value).lower()}: the quantizer {key.quantizer!r} takes {listed}"
                )


@torch.no_grad()
def assert_peer_on_grid(peer: Peer, model: nn.Module, expected: int) -> None:
    """Prove that every quantized layer uses whole codes within its width.

    Args:
        peer: whose quantizers they are.
        model: the model about to be used.
        expected: how many layers are quantized.

    Raises:
        OffGrid: naming the layer.
    """
    count = 0
    for weight in peer.weights(model):
        low, high = code_range(weight.bits)
        found = weight.used / weight.scale
        code = found.round()
        if not bool((((found - code).abs() <= _OFF_GRID) & (code >= low) & (code <= high)).all()):
            raise OffGrid(f"{weight.name}: the weight in use is off the {weight.bits}-bit grid of {peer.library}")
        count += 1
    if count != expected:
        raise OffGrid(f"{count} quantizers of {peer.library} are active, the policy has {expected}")


def replace_module(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put `new` where the module of that path is."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)
