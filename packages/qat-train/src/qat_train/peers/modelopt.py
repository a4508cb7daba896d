"""Stock ModelOpt: max calibration, fixed amax, its own kernel and straight-through gradient (no clip mask)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import modelopt.torch.quantization as mtq
from torch import Tensor, nn

from qat_train.insertion import active_quantizers, layer_scale
from qat_train.peers.base import Peer, QuantizedWeight
from qat_train.spec import QuantizationKey


def insert(
    model: nn.Module,
    bits: Mapping[str, int | None],
    key: QuantizationKey,
    _images: Callable[[], Iterable[Tensor]],
) -> None:
    """`mtq.quantize` with "max" or "mse" as its algorithm and nothing else changed."""
    axis = 0 if key.granularity == "per-channel" else None
    rules: list[dict[str, Any]] = [{"quantizer_name": "*", "enable": False}]
    rules += [
        {"quantizer_name": f"{name}.weight_quantizer", "cfg": {"num_bits": width, "axis": axis}}
        for name, width in bits.items()
        if width is not None
    ]
    mtq.quantize(model, {"quant_cfg": rules, "algorithm": key.init}, forward_loop=None)


def weights(model: nn.Module) -> Iterator[QuantizedWeight]:
    """Every layer, through its own quantizer."""
    for name, conv, quantizer in active_quantizers(model):
        yield QuantizedWeight(
            name=name, bits=quantizer.num_bits, used=quantizer(conv.weight), scale=layer_scale(quantizer)
        )


PEER = Peer(library="nvidia-modelopt, stock", insert=insert, weights=weights, inits=("max", "mse"))
