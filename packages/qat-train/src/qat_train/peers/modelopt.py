"""Stock ModelOpt: max calibration, fixed amax, its own kernel and straight-through gradient (no clip mask)."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import modelopt.torch.quantization as mtq
from torch import Tensor, nn

from qat_train.insertion import active_quantizers, layer_scale, weight_rules
from qat_train.peers.base import Peer, QuantizedWeight
from qat_train.spec import QuantizationKey


def insert(
    model: nn.Module,
    bits: Mapping[str, int | None],
    key: QuantizationKey,
    _images: Callable[[], Iterable[Tensor]],
) -> None:
    """`mtq.quantize` with "max" or "mse" as its algorithm and nothing else changed."""
    rules = weight_rules(bits, key.granularity)
    mtq.quantize(model, {"quant_cfg": rules, "algorithm": key.init}, forward_loop=None)


def weights(model: nn.Module) -> Iterator[QuantizedWeight]:
    """Every layer, through its own quantizer."""
    for name, conv, quantizer in active_quantizers(model):
        yield QuantizedWeight(
            name=name, bits=quantizer.num_bits, used=quantizer(conv.weight), scale=layer_scale(quantizer)
        )


PEER = Peer(library="nvidia-modelopt, stock", insert=insert, weights=weights, inits=("max", "mse"))
