"""Ultralytics' own quantization-aware training, `quantize=8`: weights and inputs at 8 bits, ranges from 8 batches.

Its own choice of layers: every convolution but DFL and the head's output layers. At its own width, so it is a row to
know, not one to beat: twice the bits of the weights, and quantized activations.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from ultralytics.utils.torch_utils import prepare_qat

from qat_train.peers.base import Peer
from qat_train.peers.modelopt import weights
from qat_train.spec import QuantizationKey

BITS = 8


def choose(model: Any) -> dict[str, int | None]:
    """Widths as `prepare_qat` leaves them: bare convolutions of the head and DFL stay in float."""
    head = f"model.{len(model.model) - 1}."
    return {
        name: None if name.startswith(head) and (".conv." not in f"{name}." or ".dfl." in name) else BITS
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    }


def insert(
    model: nn.Module,
    _bits: Mapping[str, int | None],
    _key: QuantizationKey,
    images: Callable[[], Iterable[Tensor]],
) -> None:
    """Ultralytics' function on batches of training images, without the augmentation that its trainer adds."""
    prepare_qat(model, images(), lambda batch: batch)


PEER = Peer(
    library="ultralytics",
    insert=insert,
    weights=weights,  # its quantizers are ModelOpt's; the inputs have some too
    widths=(BITS,),
    per_tensor=False,
    activation_bits=BITS,
    choose=choose,
)
