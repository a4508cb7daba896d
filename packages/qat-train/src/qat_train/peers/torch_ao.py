"""torch.ao's quantization-aware training of weights: `FakeQuantize` over a moving average of each channel's range.

As `default_per_channel_weight_fake_quant` has it, but for the width: symmetric, scale = amax / ((2^b - 1) / 2).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.nn.qat import Conv2d
from torch.ao.quantization import (
    FakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    QConfig,
)

from qat_train.peers.base import Peer, QuantizedWeight, replace_module
from qat_train.quantizer import code_range
from qat_train.spec import QuantizationKey


class WeightFakeQuantize(FakeQuantize):
    """Observes while training only: `disable_observer` before an evaluation, as torch.ao's own recipe says."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weight on the grid of the range seen so far."""
        if self.training:
            seen: Tensor = super().forward(weight)  # type: ignore[no-untyped-call]  # torch.ao is not annotated
            return seen
        return self.quantized(weight)

    def quantized(self, weight: Tensor) -> Tensor:
        """As `forward`, looking at no range."""
        low, high = self.activation_post_process.quant_min, self.activation_post_process.quant_max
        if self.is_per_channel:
            return torch.fake_quantize_per_channel_affine(weight, self.scale, self.zero_point, 0, low, high)
        return torch.fake_quantize_per_tensor_affine(weight, self.scale, self.zero_point, low, high)


def _qconfig(width: int, key: QuantizationKey) -> QConfig:
    low, high = code_range(width)
    per_channel = key.granularity == "per-channel"
    options: dict[str, Any] = {"ch_axis": 0} if per_channel else {}
    return QConfig(  # type: ignore[no-untyped-call]
        activation=nn.Identity,
        weight=WeightFakeQuantize.with_args(  # type: ignore[no-untyped-call]
            observer=MovingAveragePerChannelMinMaxObserver if per_channel else MovingAverageMinMaxObserver,
            quant_min=low,
            quant_max=high,
            dtype=torch.qint8,
            qscheme=torch.per_channel_symmetric if per_channel else torch.per_tensor_symmetric,
            reduce_range=False,
            **options,
        ),
    )


@torch.no_grad()
def insert(
    model: nn.Module,
    bits: Mapping[str, int | None],
    key: QuantizationKey,
    _images: Callable[[], Iterable[Tensor]],
) -> None:
    """Replace the named convolutions by torch.ao's, and let each see its weight once: its buffers get their shape."""
    for name, width in bits.items():
        if width is None:
            continue
        conv: Any = model.get_submodule(name)
        conv.qconfig = _qconfig(width, key)
        new = Conv2d.from_float(conv)  # type: ignore[no-untyped-call]
        replace_module(model, name, new.to(conv.weight.device))
        new.weight_fake_quant.train()(new.weight)
        new.train(conv.training)


def weights(model: nn.Module) -> Iterator[QuantizedWeight]:
    """Every layer, without observing it."""
    for name, module in model.named_modules():
        if isinstance(module, Conv2d) and bool(module.weight_fake_quant.fake_quant_enabled[0]):
            fake = module.weight_fake_quant
            bits = int(fake.activation_post_process.quant_max).bit_length() + 1
            shape = (-1, 1, 1, 1) if fake.is_per_channel else ()
            used = fake.quantized(module.weight)
            yield QuantizedWeight(name=name, bits=bits, used=used, scale=fake.scale.reshape(shape))


PEER = Peer(library="torch.ao", insert=insert, weights=weights)
