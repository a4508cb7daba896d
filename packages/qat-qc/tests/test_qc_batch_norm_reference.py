"""Re-estimated statistics against sums in float64: means of batch means, means of unbiased variances within batches."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qat_qc import CorrectionError, reestimate_bn

from .conftest import Net, ToyTask


class Stack(nn.Module):
    """Two norms, the second of which sees what the first makes of a batch; dropout between them."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.5)
        self.conv2, self.bn2 = nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5, momentum=0.3)
        with torch.no_grad():
            for norm in (self.bn1, self.bn2):
                norm.weight.uniform_(-1.5, 1.5)
                norm.bias.normal_()
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.2, 3)

    def forward(self, x):
        return self.bn2(self.conv2(self.dropout(torch.relu(self.bn1(self.conv1(x))))))


def batches_of(sizes, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(n, 3, 6, 6, generator=generator, dtype=dtype) + 0.5 * i for i, n in enumerate(sizes)]


def moments(x):
    """(mean, variance as a batch norm applies it, unbiased variance as it records it), channel by channel."""
    means, biased, unbiased = [], [], []
    for channel in x.transpose(0, 1):
        values = channel.reshape(-1)
        count = values.numel()
        mean = values.sum() / count
        squares = (values - mean).square().sum()
        means.append(mean)
        biased.append(squares / count)
        unbiased.append(squares / (count - 1))
    return tuple(map(torch.stack, (means, biased, unbiased)))


@torch.no_grad()
def expected(model, batches):
    """[(running mean, running variance) of bn1, of bn2] in float64: the plain average over the batches."""
    model = copy.deepcopy(model).double()
    found = [[], []]
    for batch in batches:
        inputs = batch.double()
        for i, (conv, norm) in enumerate(((model.conv1, model.bn1), (model.conv2, model.bn2))):
            h = conv(inputs)
            mean, biased, unbiased = (m.reshape(1, -1, 1, 1) for m in moments(h))
            found[i].append((mean.reshape(-1), unbiased.reshape(-1)))
            affine = norm.weight.reshape(1, -1, 1, 1), norm.bias.reshape(1, -1, 1, 1)
            inputs = torch.relu(affine[0] * (h - mean) / (biased + norm.eps).sqrt() + affine[1])
    return [tuple(torch.stack(part).mean(0) for part in zip(*layer, strict=True)) for layer in found]


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    seed=st.integers(0, 2**31 - 1),
    training=st.booleans(),
    double=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_both_norms_equal_the_sums(sizes, seed, training, double):
    """Batches of different sizes count alike; what the running statistics were before does not count at all."""
    model = Stack().train(training)
    batches = batches_of(sizes, seed)
    wanted = expected(model, batches)
    if double:
        model, batches = model.double(), [b.double() for b in batches]
    assert reestimate_bn(model, batches, model) == 2
    for norm, (mean, var) in zip((model.bn1, model.bn2), wanted, strict=True):
        rtol = 1e-9 if double else 1e-4
        assert torch.allclose(norm.running_mean.double(), mean, rtol=rtol, atol=rtol)
        assert torch.allclose(norm.running_var.double(), var, rtol=rtol, atol=rtol)


def test_the_mean_of_variances_is_within_batches_and_unbiased():
    """Two batches at 0 and at 100 with the same spread: what lies between them is no variance."""
    norm = nn.Sequential(nn.BatchNorm1d(1))
    batches = [torch.tensor([[-1.0], [1.0]]), torch.tensor([[99.0], [101.0]])]
    reestimate_bn(norm, batches, norm)
    assert norm[0].running_mean.tolist() == [50.0]
    assert norm[0].running_var.tolist() == [2.0]


def test_nothing_but_the_statistics_changes():
    model = Stack().train()
    model.conv1.eval()
    before = copy.deepcopy(model.state_dict())
    modes = {name: module.training for name, module in model.named_modules()}
    needed = {name: p.requires_grad for name, p in model.named_parameters()}
    torch.manual_seed(7)
    random = torch.get_rng_state()
    reestimate_bn(model, batches_of([3, 2]), model)
    assert torch.equal(torch.get_rng_state(), random)  # dropout was off
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: p.requires_grad for name, p in model.named_parameters()} == needed
    assert (model.bn1.momentum, model.bn2.momentum) == (0.1, 0.3)
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != name.endswith(("running_mean", "running_var", "batches_tracked"))


def test_the_order_of_the_batches_does_not_matter_and_twice_is_once():
    batches = batches_of([3, 1, 2])
    found = []
    for order in (batches, batches[::-1], batches + batches):
        model = Stack()
        reestimate_bn(model, order, model)
        found.append(torch.cat([model.bn1.running_var, model.bn2.running_mean, model.bn2.running_var]))
    model = Stack()
    for _ in range(2):
        reestimate_bn(model, batches, model)
    found.append(torch.cat([model.bn1.running_var, model.bn2.running_mean, model.bn2.running_var]))
    assert all(torch.allclose(each, found[0], rtol=1e-5, atol=1e-6) for each in found)


def test_norms_without_running_statistics_are_not_counted():
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.BatchNorm2d(3))
    assert reestimate_bn(model, batches_of([2]), model) == 1
    assert reestimate_bn(nn.Conv2d(3, 1, 1), batches_of([2]), nn.Conv2d(3, 1, 1)) == 0


def test_a_pass_that_fails_leaves_modes_and_momentum():
    model = Stack().eval()

    def forward(x):
        model(x)
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        reestimate_bn(model, batches_of([2, 2]), forward)
    assert not any(module.training for module in model.modules())
    assert (model.bn1.momentum, model.bn2.momentum) == (0.1, 0.3)


def test_a_task_gives_the_statistics_of_its_quantized_weights():
    """The first norm's statistics are those of the convolution with codes times scale, over the task's batches."""
    task = ToyTask()
    batches = [batch for batch, _ in task.batches(seed=3)]
    conv = task.model.conv1
    quantized = torch.clamp(torch.round(conv.weight / conv.scale), -8, 7) * conv.scale
    outputs = [nn.functional.conv2d(b["img"].double(), quantized.double(), padding=1) for b in batches]
    means, _, variances = (torch.stack(part).mean(0) for part in zip(*map(moments, outputs), strict=True))
    assert reestimate_bn(task.model, batches, lambda batch: task.model(batch["img"])) == 2
    assert torch.allclose(task.model.bn1.running_mean.double(), means, rtol=1e-5, atol=1e-6)
    assert torch.allclose(task.model.bn1.running_var.double(), variances, rtol=1e-5, atol=1e-6)


def test_no_batch_is_an_error_that_changes_nothing():
    model = Net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CorrectionError):
        reestimate_bn(model, iter(()), model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
