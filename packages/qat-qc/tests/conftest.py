"""A small quantized network whose owner is this file: the package needs no detector."""

import attrs
import pytest
import torch
from torch import nn

import qat_artifacts


@attrs.frozen
class Layer:
    name: str
    batch_norm: str | None


class QuantizedConv(nn.Conv2d):
    """A convolution whose weight is rounded to signed 4-bit codes times a scale before use."""

    def __init__(self, *args, per_channel=True, **kwargs):
        super().__init__(*args, **kwargs)
        shape = (self.out_channels, 1, 1, 1) if per_channel else ()
        top = (
            self.weight.detach().abs().amax((1, 2, 3), keepdim=True)
            if per_channel
            else self.weight.detach().abs().max()
        )
        self.register_buffer("scale", (top / 7).reshape(shape))

    def codes(self):
        return torch.clamp(torch.round(self.weight / self.scale), -8, 7)

    def forward(self, x):
        return self._conv_forward(x, self.codes() * self.scale, self.bias)


class Net(nn.Module):
    """Two convolutions with norms (one with a negative norm scale) and one without, with a bias."""

    def __init__(self, *, per_channel=True, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = QuantizedConv(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = QuantizedConv(8, 8, 3, padding=1, groups=2)
        self.bn2 = nn.BatchNorm2d(8)
        self.conv3 = QuantizedConv(8, 5, 1, per_channel=per_channel)
        for norm in (self.bn1, self.bn2):
            nn.init.uniform_(norm.weight, -1.5, 1.5)
            nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.2, 3.0)
        self.to(dtype)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.conv3(x).mean((2, 3))


class ToyTask:
    """12 random images in batches of 4; the loss is cross entropy against random classes."""

    name = "toy"
    run_id = "toy/run"
    images = 12

    def __init__(self, *, per_channel=True, dtype=torch.float32):
        self.model = Net(per_channel=per_channel, dtype=dtype).eval()
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(12, 3, 8, 8, generator=generator, dtype=dtype)
        self.y = torch.randint(5, (12,), generator=generator)
        self.visits = []

    def layers(self):
        return (Layer("conv1", "bn1"), Layer("conv2", "bn2"), Layer("conv3", None))

    def batches(self, seed):
        order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
        for part in order.split(4):
            self.visits += part.tolist()
            yield {"img": self.x[part], "cls": self.y[part]}, [f"{i}.jpg" for i in part.tolist()]

    def training_batches(self, seed):
        for batch, ids in self.batches(seed):
            yield batch | {"img": batch["img"] + 1}, ids

    def forward(self, batch):
        return self.model(batch["img"])

    def loss(self, batch):
        self.model.train()
        return nn.functional.cross_entropy(self.model(batch["img"]), batch["cls"])

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        right = (self.model(self.x).argmax(1) == self.y).double().mean().item()
        numbers = dict.fromkeys(("map50_95", "map50", "precision", "recall"), right)
        return numbers | {"per_class": {"all": right}, "weights_sha256": "0" * 64, "seconds": 0.1}

    def is_per_channel(self, name):
        return self.model.get_submodule(name).scale.dim() > 0

    def get_scale(self, name):
        return self.model.get_submodule(name).scale.clone()

    def set_scale(self, name, scale):
        self.model.get_submodule(name).scale.copy_(scale)

    def codes(self, name):
        return self.model.get_submodule(name).codes().to(torch.int8)

    def save(self, out):
        qat_artifacts.write_text(out / "checkpoint.json", "{}\n")
        return out / "checkpoint.json"


@pytest.fixture
def task():
    return ToyTask()
