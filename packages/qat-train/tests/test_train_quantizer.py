"""The integer grid, against references written from its definition."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qat_train.quantizer import (
    amax_from_scale,
    code_range,
    codes,
    fake_quantize,
    initial_amax,
    scale_from_amax,
)

bits_strategy = st.integers(2, 8)
seeds = st.integers(0, 2**31 - 1)


def random_weight(seed, shape=(5, 3, 3, 3)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def reference_code(value, scale, bits):
    """clamp(round(w / s)) in Python floats, halves to even."""
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, round(value / scale)))


@pytest.mark.parametrize(("bits", "expected"), [(2, (-2, 1)), (3, (-4, 3)), (4, (-8, 7)), (8, (-128, 127))])
def test_range_is_twos_complement(bits, expected):
    assert code_range(bits) == expected


@pytest.mark.parametrize("bits", [0, 1, 9, 32])
def test_widths_without_a_grid_are_refused(bits):
    with pytest.raises(ValueError, match=rf"^bits must lie in \[2, 8\], found {bits}$"):
        code_range(bits)


@given(seeds, bits_strategy)
@settings(max_examples=40, deadline=None)
def test_codes_equal_a_float64_reference(seed, bits):
    weight = random_weight(seed).double()
    scale = scale_from_amax(initial_amax(weight, bits, init="max", per_channel=True), bits)
    found = codes(weight, scale, bits)
    expected = [
        reference_code(w.item(), scale[c, 0, 0, 0].item(), bits) for c in range(5) for w in weight[c].reshape(-1)
    ]
    assert found.reshape(-1).tolist() == expected


@given(seeds, bits_strategy, st.booleans(), st.sampled_from(["max", "mse"]))
@settings(max_examples=40, deadline=None)
def test_fake_quantized_weights_are_exactly_code_times_scale(seed, bits, per_channel, init):
    weight = random_weight(seed)
    scale = scale_from_amax(initial_amax(weight, bits, init=init, per_channel=per_channel), bits)
    used = fake_quantize(weight, scale, bits)
    assert torch.equal(used, codes(weight, scale, bits) * scale)
    assert torch.equal(codes(used, scale, bits), codes(weight, scale, bits))


def test_gradient_passes_inside_the_range_and_stops_outside():
    scale = torch.tensor(1.0)
    weight = torch.tensor([-9.0, -8.0, -0.4, 3.3, 7.0, 7.4], requires_grad=True)
    fake_quantize(weight, scale, 4).sum().backward()
    assert weight.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]


def test_arithmetic_stays_in_fp32_under_autocast():
    weight, scale = random_weight(1), torch.tensor(0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        used = fake_quantize(weight, scale, 4)
    assert used.dtype == torch.float32
    assert torch.equal(used, fake_quantize(weight, scale, 4))


@given(st.floats(1e-6, 1e3), bits_strategy)
@settings(deadline=None)
def test_scale_of_an_amax_survives_the_way_back(value, bits):
    scale = scale_from_amax(torch.tensor([value]), bits)
    assert torch.equal(scale_from_amax(amax_from_scale(scale, bits), bits), scale)


@given(st.floats(1e-6, 1e3), bits_strategy)
@settings(deadline=None)
def test_any_scale_is_stored_within_one_unit_in_the_last_place(value, bits):
    scale = torch.tensor([value])
    stored = scale_from_amax(amax_from_scale(scale, bits), bits)
    assert torch.nextafter(scale, scale * 0) <= stored <= torch.nextafter(scale, scale * 2)


@given(seeds, st.integers(2, 4), st.booleans())
@settings(max_examples=30, deadline=None)
def test_mse_start_never_has_a_larger_error_than_max(seed, bits, per_channel):
    weight = random_weight(seed)

    def error(init):
        scale = scale_from_amax(initial_amax(weight, bits, init=init, per_channel=per_channel), bits)
        return (fake_quantize(weight, scale, bits) - weight).square().sum().item()

    assert error("mse") <= error("max") * (1 + 1e-6)


def test_channel_of_zeros_gets_a_positive_scale():
    weight = torch.zeros(2, 3, 1, 1)
    weight[1] = 1.0
    scale = scale_from_amax(initial_amax(weight, 4, init="mse", per_channel=True), 4)
    assert bool((scale > 0).all())
    assert torch.equal(fake_quantize(weight, scale, 4)[0], weight[0])


def test_per_tensor_amax_is_one_number():
    weight = random_weight(3)
    assert initial_amax(weight, 4, init="max", per_channel=False).shape == ()
    assert math.isclose(initial_amax(weight, 4, init="max", per_channel=False).item(), weight.abs().max().item())


def test_unknown_initialisation_is_named():
    with pytest.raises(ValueError, match=r"^init must be 'max' or 'mse', found 'lsq'$"):
        initial_amax(random_weight(0), 4, init="lsq", per_channel=True)
