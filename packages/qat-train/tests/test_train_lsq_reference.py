"""Learned scales against float64 autograd of the LSQ equations."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qat_train.insertion import active_quantizers, keep_scales_positive, learn_scales, scale_parameters
from qat_train.quantizer import SMALLEST_AMAX, codes, learned_fake_quantize

from .reference import amax_of, grid, lsq, two_convolutions

WIDTHS = [2, 3, 4, 8]
seeds = st.integers(0, 2**31 - 1)
SHAPES = [(6, 4, 3, 3), (6, 1, 3, 3), (6, 5, 1, 1)]


def draw(seed, bits, *, per_channel, shape=SHAPES[0], beyond=2.0):
    """fp32 weight, scale and incoming gradient; no w/s within 1e-3 of an edge of the range or of a half.

    There the precision of the quotient would decide, and fp32 and float64 may differ.
    """
    generator = torch.Generator().manual_seed(seed)
    low, high = grid(bits)
    v = torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low + 2 * beyond) + low - beyond
    v = v + 0.02 * ((v - v.floor() - 0.5).abs() < 1e-2)  # off the halves
    v = v + 0.02 * (((v - low).abs() < 1e-2) | ((v - high).abs() < 1e-2))
    scale = torch.rand((shape[0], 1, 1, 1) if per_channel else (), generator=generator) * 0.1 + 0.01
    weight = (v * scale).float()
    gradient = torch.randn(shape, generator=generator)
    return weight, scale, gradient


def backward(function, weight, scale, gradient, bits):
    """(value, gradient of the weight, gradient of the scale)."""
    weight, scale = weight.clone().requires_grad_(), scale.clone().requires_grad_()
    value = function(weight, scale, bits)
    value.backward(gradient)
    return value.detach(), weight.grad, scale.grad


def assert_equals_reference(weight, scale, gradient, bits):
    value, by_weight, by_scale = backward(learned_fake_quantize, weight, scale, gradient, bits)
    low, high = grid(bits)
    assert torch.equal(value, torch.clamp(torch.round(weight / scale), low, high) * scale)
    expected, wanted_w, wanted_s = backward(lsq, weight.double(), scale.double(), gradient.double(), bits)
    assert torch.allclose(value.double(), expected, rtol=1e-6, atol=0)
    assert torch.allclose(by_weight.double(), wanted_w, rtol=1e-6, atol=0)
    # A sum of terms of both signs: its error is relative to the sum of their sizes; a term's own to |w / s|.
    v = (weight / scale).double().clamp(low, high).abs() + 1
    terms = (gradient.double().abs() * v).sum((1, 2, 3), keepdim=True)
    size = terms if scale.dim() else terms.sum()
    allowed = 2**-21 * size / math.sqrt(weight.numel() / scale.numel() * high)
    assert by_scale.shape == scale.shape
    assert bool(((by_scale.double() - wanted_s).abs() <= allowed).all())


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("per_channel", [True, False], ids=["per-channel", "per-tensor"])
@pytest.mark.parametrize("shape", SHAPES, ids=["dense", "depthwise", "pointwise"])
def test_value_and_gradients_equal_the_equations(bits, per_channel, shape):
    assert_equals_reference(*draw(bits, bits, per_channel=per_channel, shape=shape), bits)


@given(seeds, st.sampled_from(WIDTHS), st.booleans(), st.sampled_from(SHAPES))
@settings(max_examples=60, deadline=None)
def test_any_weights_give_the_gradients_of_the_equations(seed, bits, per_channel, shape):
    assert_equals_reference(*draw(seed, bits, per_channel=per_channel, shape=shape), bits)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("per_channel", [True, False], ids=["per-channel", "per-tensor"])
def test_the_edges_of_the_range_are_inside_and_the_next_number_is_outside(bits, per_channel):
    low, high = grid(bits)
    v = torch.tensor([low, high, 0.0, -0.0])
    v = torch.cat([v, torch.nextafter(v[:2], v[:2] * 2), torch.nextafter(v[:2], v[:2] * 0), v[:2] * 3])
    scale = torch.tensor(0.25).reshape((1, 1, 1, 1) if per_channel else ())  # a power of two: w / s is exact
    weight = (v * scale.reshape(())).reshape(1, -1, 1, 1)
    assert_equals_reference(weight, scale, torch.ones_like(weight), bits)
    _, by_weight, _ = backward(learned_fake_quantize, weight, scale, torch.ones_like(weight), bits)
    assert by_weight.reshape(-1).tolist() == [1, 1, 1, 1, 0, 0, 1, 1, 0, 0]


def test_the_quotient_that_decides_the_edge_is_that_of_the_codes():
    """7·s rounded to fp32 may be a little above 7·s; divided by s again in fp32 it is 7 or the number next to 7."""
    scale = (torch.rand((200, 1, 1, 1), generator=torch.Generator().manual_seed(0)) + 0.01).float()
    weight = scale * 7
    inside = (weight / scale <= 7).float()
    _, by_weight, by_scale = backward(learned_fake_quantize, weight, scale, torch.ones_like(weight), 4)
    assert torch.equal(by_weight, inside)
    g = 1 / math.sqrt(7)
    assert torch.allclose(by_scale, torch.where(inside.bool(), 7 - weight / scale, 7.0) * g, rtol=1e-6, atol=1e-6)


def test_one_scale_by_hand():
    """v = -9, 0.3, 7.4, 2: terms -8, -0.3, 7, 0; g = 1/√(4·7)."""
    weight = torch.tensor([-9.0, 0.3, 7.4, 2.0]).reshape(1, 4, 1, 1)
    value, by_weight, by_scale = backward(
        learned_fake_quantize, weight, torch.ones(1, 1, 1, 1), torch.ones(1, 4, 1, 1), 4
    )
    assert value.reshape(-1).tolist() == [-8, 0, 7, 2]
    assert by_weight.reshape(-1).tolist() == [0, 1, 0, 1]
    assert by_scale.item() == pytest.approx(-1.3 / math.sqrt(28), rel=1e-6)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("count", [1, 9, 49, 1024])
def test_the_gradient_scale_counts_the_weights_of_one_scale(bits, count):
    """Every weight above the range: the sum is N·Qp, so the gradient is N·Qp/√(N·Qp) = √(N·Qp)."""
    high = grid(bits)[1]
    channels = 3
    weight = torch.full((channels, count, 1, 1), 1000.0)
    for scale, members in ((torch.ones(channels, 1, 1, 1), count), (torch.tensor(1.0), channels * count)):
        _, _, found = backward(learned_fake_quantize, weight, scale, torch.ones_like(weight), bits)
        assert torch.allclose(found, torch.full_like(found, math.sqrt(members * high)), rtol=1e-6)


def test_zeros_move_neither_value_nor_scale():
    weight, scale = torch.zeros(3, 2, 3, 3), torch.full((3, 1, 1, 1), 1e-8 / 7)
    value, by_weight, by_scale = backward(learned_fake_quantize, weight, scale, torch.ones_like(weight), 4)
    assert not value.any()
    assert bool((by_weight == 1).all())
    assert not by_scale.any()


def test_a_channel_does_not_feel_another():
    weight, scale, gradient = draw(3, 4, per_channel=True)
    _, by_weight, by_scale = backward(learned_fake_quantize, weight, scale, gradient, 4)
    for c in range(len(weight)):
        _, alone_w, alone_s = backward(learned_fake_quantize, weight[c : c + 1], scale[c : c + 1], gradient[c:][:1], 4)
        assert torch.equal(alone_w[0], by_weight[c])
        assert torch.allclose(alone_s[0], by_scale[c], rtol=1e-6, atol=1e-7)


@given(seeds, st.sampled_from(WIDTHS), st.booleans(), st.integers(-20, 20))
@settings(max_examples=40, deadline=None)
def test_weights_and_scale_in_another_unit_change_nothing_else(seed, bits, per_channel, power):
    weight, scale, gradient = draw(seed, bits, per_channel=per_channel)
    value, by_weight, by_scale = backward(learned_fake_quantize, weight, scale, gradient, bits)
    unit = 2.0**power
    again = backward(learned_fake_quantize, weight * unit, scale * unit, gradient, bits)
    for found, expected in zip(again, (value * unit, by_weight, by_scale), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("per_channel", [True, False], ids=["per-channel", "per-tensor"])
@pytest.mark.parametrize("backward_inside", [True, False])
def test_autocast_changes_no_bit(per_channel, backward_inside):
    weight, scale, gradient = draw(5, 4, per_channel=per_channel)
    expected = backward(learned_fake_quantize, weight, scale, gradient, 4)
    weight, scale = weight.requires_grad_(), scale.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = learned_fake_quantize(weight, scale, 4)
        if backward_inside:
            value.backward(gradient)
    if not backward_inside:
        value.backward(gradient)
    assert value.dtype == weight.grad.dtype == scale.grad.dtype == torch.float32
    for found, wanted in zip((value.detach(), weight.grad, scale.grad), expected, strict=True):
        assert torch.equal(found, wanted)


def test_only_the_gradient_that_is_asked_for_is_needed():
    weight, scale, gradient = draw(6, 4, per_channel=True)
    _, by_weight, by_scale = backward(learned_fake_quantize, weight, scale, gradient, 4)
    free = weight.clone().requires_grad_()
    learned_fake_quantize(free, scale, 4).backward(gradient)
    assert torch.equal(free.grad, by_weight)
    free = scale.clone().requires_grad_()
    learned_fake_quantize(weight, free, 4).backward(gradient)
    assert torch.equal(free.grad, by_scale)


# In a model -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_gradients_through_a_model_equal_float64(granularity):
    """The scale is amax / Qp, so the gradient of amax is that of the scale over Qp."""
    model = two_convolutions(granularity, bits=(4, 8))
    with torch.no_grad():
        amax_of(model, "0").mul_(0.6)  # a few weights beyond the range
        amax_of(model, "1").mul_(0.7)
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    model(x).square().mean().backward()

    y, leaves = x.double(), {}
    for name, bits, groups in (("0", 4, 1), ("1", 8, 4)):
        conv = model.get_submodule(name)
        weight = conv.weight.detach().double().requires_grad_()
        amax = amax_of(model, name).detach().double().requires_grad_()
        shaped = amax.reshape((-1, 1, 1, 1)) if amax.numel() > 1 else amax.reshape(())
        y = nn.functional.conv2d(
            y, lsq(weight, shaped / grid(bits)[1], bits), conv.bias.detach().double(), padding=1, groups=groups
        )
        leaves[name] = weight, amax
    y.square().mean().backward()
    for name, (weight, amax) in leaves.items():
        conv = model.get_submodule(name)
        assert bool((weight.grad == 0).any())
        for found, expected in ((conv.weight.grad, weight.grad), (amax_of(model, name).grad, amax.grad)):
            assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_a_learned_scale_is_a_parameter_of_the_same_name_and_value(granularity):
    model = two_convolutions(granularity, learned=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert scale_parameters(model) == []
    x = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    out = model(x).detach()
    learn_scales(model)
    assert torch.equal(model(x).detach(), out)
    after = model.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    found = {id(p) for p in scale_parameters(model)}
    assert found == {id(q._amax) for _, _, q in active_quantizers(model)}
    named = {name for name, p in model.named_parameters() if id(p) in found}
    assert named == {"0.weight_quantizer._amax", "1.weight_quantizer._amax"}
    assert all(p.requires_grad and isinstance(p, nn.Parameter) for p in scale_parameters(model))


def test_scales_that_are_not_learned_get_no_gradient():
    model = two_convolutions(learned=False)
    model(torch.ones(1, 3, 6, 6)).sum().backward()
    assert not amax_of(model, "0").requires_grad
    assert model.get_submodule("0").weight.grad is not None


def test_a_copy_learns_its_own_scales():
    model = two_convolutions()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        amax_of(model, "0").mul_(2)
    assert not torch.equal(amax_of(twin, "0"), amax_of(model, "0"))
    twin(torch.ones(1, 3, 6, 6)).sum().backward()
    assert amax_of(model, "0").grad is None
    assert amax_of(twin, "0").grad is not None


def test_scales_are_kept_positive_and_else_left_alone():
    model = two_convolutions()
    amax = amax_of(model, "0")
    untouched = amax_of(model, "1").detach().clone()
    with torch.no_grad():
        amax.view(-1)[:3] = torch.tensor([-1.0, 0.0, 1e-12])
    last = amax.view(-1)[3].item()
    keep_scales_positive(model)
    assert amax.view(-1).tolist() == pytest.approx([SMALLEST_AMAX] * 3 + [last], rel=1e-6)
    assert torch.equal(amax_of(model, "1"), untouched)
    assert amax.requires_grad
    assert bool((codes(model.get_submodule("0").weight, amax / 7, 4).abs() <= 8).all())


def test_descending_on_the_scale_alone_lowers_the_error_of_quantization():
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(2))
    scale = nn.Parameter(torch.full((4, 1, 1, 1), 1.0))
    optimizer = torch.optim.Adam([scale], lr=1e-2)
    errors = []
    for _ in range(100):
        error = (learned_fake_quantize(weight, scale, 4) - weight).square().sum()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.3 * errors[0]
