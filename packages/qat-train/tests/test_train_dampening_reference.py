"""Dampening against its equation in float64 autograd; the schedule it shares with freezing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qat_train.interventions.annealing import cosine as annealing
from qat_train.interventions.dampening import Dampening, dampening_loss

from .reference import Disturbance, amax_of, cosine, grid, two_convolutions

IMAGES = torch.zeros(2, 3, 8, 8)
seeds = st.integers(0, 2**31 - 1)


def equation(weight, scale, bits):
    """Nagel et al. 2022, equation 6, reduced by "kernel_mean": summed over axis 0, then the mean of what is left."""
    low, high = grid(bits)
    target = (torch.clamp(torch.round(weight / scale), low, high) * scale).detach()
    scale = scale.detach()
    clipped = torch.minimum(torch.maximum(weight, low * scale), high * scale)
    return (target - clipped).square().sum(0).mean()


def draw(seed, bits, *, per_channel, shape):
    """A weight off the thresholds of rounding, a fifth of it beyond the range, and its scale."""
    generator = torch.Generator().manual_seed(seed)
    low, high = grid(bits)
    k = torch.randint(low - 2, high + 3, shape, generator=generator)
    v = k + (torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5) * 0.98
    v = torch.where((v < low) & (v > low - 0.01) | (v > high) & (v < high + 0.01), torch.zeros_like(v), v)
    scale = torch.rand((shape[0], 1, 1, 1) if per_channel else (), generator=generator) * 0.1 + 0.01
    return (v * scale).float(), scale


@given(seeds, st.sampled_from([2, 3, 4, 8]), st.booleans(), st.sampled_from([(4, 3, 3, 3), (6, 1, 5, 5), (3, 7, 1, 1)]))
@settings(max_examples=60, deadline=None)
def test_value_and_gradient_equal_the_equation(seed, bits, per_channel, shape):
    weight, scale = draw(seed, bits, per_channel=per_channel, shape=shape)
    weight.requires_grad_()
    found = dampening_loss(weight, scale, bits)
    found.backward()
    exact = weight.detach().double().requires_grad_()
    expected = equation(exact, scale.double(), bits)
    expected.backward()
    assert found.shape == ()
    assert found.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-12)
    tolerance = 2**-22 * (2**bits) * scale.max().item() / weight[0].numel()  # of a difference of two fp32 weights
    assert torch.allclose(weight.grad.double(), exact.grad, rtol=1e-5, atol=2 * tolerance)


def test_by_hand():
    """Scale 1: residuals 0.25, -0.4, clipped 0, on a code 0; two output channels of two weights."""
    weight = torch.tensor([[1.25, -2.4], [9.0, 3.0]]).reshape(2, 2, 1, 1).requires_grad_()
    loss = dampening_loss(weight, torch.tensor(1.0), 4)
    loss.backward()
    assert loss.item() == pytest.approx((0.25**2 + 0.4**2) / 2)
    assert weight.grad.reshape(-1).tolist() == pytest.approx([0.25, -0.4, 0, 0])


@pytest.mark.parametrize("per_channel", [True, False])
def test_no_gradient_beyond_the_range_and_none_to_the_scale(per_channel):
    weight, scale = draw(0, 4, per_channel=per_channel, shape=(4, 3, 3, 3))
    weight.requires_grad_()
    scale.requires_grad_()
    dampening_loss(weight, scale, 4).backward()
    v = weight.detach() / scale.detach()
    clipped = (v < -8) | (v > 7)
    assert 0 < clipped.sum() < clipped.numel()
    assert not weight.grad[clipped].any()
    assert bool((weight.grad[~clipped] != 0).any())
    assert scale.grad is None or not scale.grad.any()


def test_descending_brings_every_weight_to_its_code():
    weight, scale = draw(1, 4, per_channel=True, shape=(4, 3, 3, 3))
    codes = torch.clamp(torch.round(weight / scale), -8, 7)
    inside = (weight / scale >= -8) & (weight / scale <= 7)
    weight.requires_grad_()
    for _ in range(200):
        (gradient,) = torch.autograd.grad(dampening_loss(weight, scale, 4), weight)
        with torch.no_grad():
            weight -= gradient
    assert torch.allclose(weight[inside], (codes * scale)[inside], atol=1e-5)


def test_a_weight_on_the_grid_costs_nothing():
    scale = torch.tensor(0.25)
    weight = (torch.arange(-8, 8) * scale).reshape(4, 4, 1, 1).requires_grad_()
    loss = dampening_loss(weight, scale, 4)
    loss.backward()
    assert loss.item() == 0
    assert not weight.grad.any()


# In training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("learned", [True, False], ids=["learned", "fixed"])
@pytest.mark.parametrize("progress", [0.26, 0.5, 0.9, 1.0])
def test_every_quantized_layer_is_added_up_under_the_schedule(granularity, learned, progress):
    model = two_convolutions(granularity, bits=(4, 8), learned=learned)
    Disturbance(model, seed=1).step()
    with torch.no_grad():
        amax_of(model, "0").mul_(0.7)
    loss = Dampening(model, 0.3).loss(IMAGES, progress)
    loss.backward()
    strength = cosine(progress, 0.25, 0.0, 0.3)
    total, weights = 0, {}
    for name, bits in (("0", 4), ("1", 8)):
        weights[name] = model.get_submodule(name).weight.detach().double().requires_grad_()
        amax = amax_of(model, name).detach()
        scale = (amax.reshape((-1, 1, 1, 1)) if amax.numel() > 1 else amax.reshape(())) / grid(bits)[1]
        total = total + equation(weights[name], scale.double(), bits)
    (strength * total).backward()
    assert loss.shape == ()
    assert loss.item() == pytest.approx(strength * total.item(), rel=1e-4)
    for name, weight in weights.items():
        conv = model.get_submodule(name)
        atol = 1e-4 * weight.grad.abs().max().item()
        assert torch.allclose(conv.weight.grad.double(), weight.grad, rtol=1e-4, atol=atol)
        assert conv.bias.grad is None or not conv.bias.grad.any()
        scale_grad = amax_of(model, name).grad
        assert scale_grad is None or not scale_grad.any()


def test_layers_in_float_are_left_alone():
    model = two_convolutions(bits=(4, None))
    Dampening(model, 0.3).loss(IMAGES, 0.9).backward()
    assert model.get_submodule("0").weight.grad.any()
    assert model.get_submodule("1").weight.grad is None


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.2499])
def test_the_first_quarter_is_free_of_it(progress):
    model = two_convolutions()
    x = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    loss = model(x).square().mean()
    expected = torch.autograd.grad(loss, model.get_submodule("0").weight)[0]
    added = Dampening(model, 0.3).loss(IMAGES, progress)  # None or zero: nothing to add
    assert added is None or added.item() == 0
    (model(x).square().mean() + (0 if added is None else added)).backward()
    assert torch.equal(model.get_submodule("0").weight.grad, expected)


def test_the_loss_follows_weights_as_they_move():
    model = two_convolutions()
    intervention = Dampening(model, 0.3)
    disturbance = Disturbance(model, seed=2)
    seen = set()
    for _ in range(3):
        disturbance.step()
        seen.add(intervention.loss(IMAGES, 1.0).item())
    assert len(seen) == 3


# The schedule ---------------------------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(0, 0.9), st.floats(-1, 1), st.floats(-1, 1))
def test_annealing_equals_its_formula(t, start, first, last):
    found = annealing(t, start=start, first=first, last=last)
    assert found == pytest.approx(cosine(t, start, first, last), rel=1e-9, abs=1e-9)


def test_annealing_begins_and_ends_where_it_should():
    assert annealing(0.2, start=0.25, first=0.1, last=0.02) == 0.1
    assert annealing(0.25, start=0.25, first=0.1, last=0.02) == pytest.approx(0.1)
    assert annealing(0.625, start=0.25, first=0.1, last=0.02) == pytest.approx(0.06)
    assert annealing(1.0, start=0.25, first=0.1, last=0.02) == pytest.approx(0.02)
    values = [annealing(0.25 + 0.75 * i / 50, start=0.25, first=0.0, last=math.pi) for i in range(51)]
    assert values == sorted(values)
