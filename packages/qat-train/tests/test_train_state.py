"""The exact state of an optimizer, through the file and back."""

import copy

import pytest
import torch
from torch import nn

from qat_train.state import (
    TrainingState,
    load_state,
    optimizer_groups,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)


def network(memory_format):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 3, groups=4))
    return model.to(memory_format=memory_format)


def step(model, optimizer, seed):
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(images.contiguous(memory_format=torch.channels_last)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("fused", [False, True])
def test_an_optimizer_goes_on_bit_for_bit_in_the_memory_format_of_its_weights(memory_format, fused, tmp_path):
    """Fused steps, those of a GPU, refuse moments whose strides are not their parameter's."""
    model = network(memory_format)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=fused)
    step(model, optimizer, 1)
    state = TrainingState(
        epoch=1, spec_sha256="0", tensors="none", tensors_sha256="0", ema_updates=0, criterion_updates=0, rollbacks=0,
        seconds=0.0, optimizer_groups=optimizer_groups(optimizer), scaler={}, records=(), events=(),
    )  # fmt: skip
    save_state(tmp_path, state, optimizer_tensors(optimizer))
    later = network(memory_format)
    later.load_state_dict(copy.deepcopy(model.state_dict()))
    resumed = torch.optim.AdamW(later.parameters(), lr=1e-2, fused=fused)
    restore_optimizer(resumed, *load_state(tmp_path))
    for parameter, slots in resumed.state.items():
        moments = [value for value in slots.values() if value.shape == parameter.shape]
        assert len(moments) == 2
        assert all(value.stride() == parameter.stride() for value in moments)
    step(model, optimizer, 2)
    step(later, resumed, 2)
    for ours, theirs in zip(later.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
