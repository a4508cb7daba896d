"""Output error, its scale, and GPTQ, against references written from their definitions in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qat_train.gptq import DAMPING, compensate, least_error_amax, output_error
from qat_train.quantizer import code_range, codes, scale_from_amax, weight_gradient

seeds = st.integers(0, 2**31 - 1)
bits_strategy = st.integers(2, 8)


def drawn(seed, *, groups=2, channels=3, size=9, places=200):
    """Weights (G, O, K), inputs (G, K, places) that depend on each other, and their second moments."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(groups, channels, size, generator=generator)
    mix = torch.randn(groups, size, size, generator=generator)
    inputs = mix @ torch.randn(groups, size, places, generator=generator) + 1.0
    return weight, inputs, inputs @ inputs.transpose(1, 2) / places


def max_scale(weight, bits):
    return scale_from_amax(weight.abs().amax(dim=2, keepdim=True), bits)


def reference_codes(weight, scale, bits, moments):
    """Optimal Brain Surgeon, one channel, one weight after the other: the inverse is made anew at every step."""
    low, high = code_range(bits)
    damped = moments.double() + DAMPING * moments.double().diagonal().mean() * torch.eye(len(weight))
    left = sorted(range(len(weight)), key=lambda k: -moments[k, k].item())
    now, found = weight.double().clone(), [0] * len(weight)
    while left:
        k = left[0]
        inverse = torch.linalg.inv(damped[left][:, left])
        found[k] = max(low, min(high, round(now[k].item() / scale)))
        now[left] -= (now[k] - found[k] * scale) / inverse[0, 0] * inverse[0]
        left = left[1:]
    return found


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_output_error_is_the_mean_square_of_what_the_change_adds_to_the_outputs(seed):
    weight, inputs, moments = drawn(seed)
    expected = (weight @ inputs).square().mean(dim=2)
    assert torch.allclose(output_error(weight, moments), expected, rtol=1e-3, atol=1e-5)


@given(seeds, st.integers(2, 4), st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_scale_is_the_one_of_those_tried_whose_outputs_are_nearest(seed, bits, per_channel):
    weight, inputs, moments = drawn(seed)
    tried = [round(0.32 + 0.04 * i, 2) for i in range(23)]
    largest = weight.abs().amax(dim=2, keepdim=True) if per_channel else weight.abs().max()

    def error(multiple):
        scale = largest * multiple / (2 ** (bits - 1) - 1)
        rounded = torch.clamp(torch.round(weight / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale
        found = ((rounded - weight).double() @ inputs.double()).square().mean(dim=2, keepdim=True)
        return found if per_channel else found.sum()

    errors = torch.stack([error(multiple) for multiple in tried])
    found = least_error_amax(weight, bits, moments, per_channel=per_channel)
    assert found.shape == ((2, 3, 1) if per_channel else ())
    chosen = (found / largest - torch.tensor(tried).reshape(-1, *[1] * found.ndim)).abs().argmin(dim=0)
    assert torch.allclose(errors.gather(0, chosen.unsqueeze(0)).squeeze(0), errors.amin(dim=0), rtol=1e-3)


@given(seeds, bits_strategy, st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_scale_of_least_output_error_is_no_worse_than_that_of_the_maximum(seed, bits, per_channel):
    weight, _, moments = drawn(seed)

    def error(amax):
        scale = scale_from_amax(amax, bits)
        return output_error(codes(weight, scale, bits) * scale - weight, moments).sum()

    largest = weight.abs().amax(dim=2, keepdim=True) if per_channel else weight.abs().max()
    assert error(least_error_amax(weight, bits, moments, per_channel=per_channel)) <= error(largest) * (1 + 1e-5)


def test_a_layer_of_zeros_keeps_a_positive_scale():
    found = least_error_amax(torch.zeros(1, 2, 4), 4, torch.eye(4).unsqueeze(0), per_channel=True)
    assert bool((found > 0).all())


@given(seeds, st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_codes_are_those_of_optimal_brain_surgeon_step_by_step(seed, bits):
    weight, _, moments = (x.double() for x in drawn(seed))
    scale = max_scale(weight, bits)
    found = codes(compensate(weight, scale, bits, moments), scale, bits)
    for g in range(2):
        for o in range(3):
            expected = reference_codes(weight[g, o], scale[g, o].item(), bits, moments[g])
            assert found[g, o].tolist() == expected


@given(seeds, bits_strategy)
@settings(max_examples=20, deadline=None)
def test_independent_inputs_leave_nothing_to_make_up_for(seed, bits):
    weight, _, _ = drawn(seed)
    scale = max_scale(weight, bits)
    moments = torch.diag_embed(torch.rand(2, 9, generator=torch.Generator().manual_seed(seed)) + 0.1)
    assert torch.equal(codes(compensate(weight, scale, bits, moments), scale, bits), codes(weight, scale, bits))


def test_moved_weights_do_less_to_the_outputs_than_rounded_ones():
    weight, _, moments = drawn(0, groups=1, channels=64, size=300, places=2000)  # more than one block
    scale = max_scale(weight, 3)
    rounded, moved = (codes(w, scale, 3) * scale for w in (weight, compensate(weight, scale, 3, moments)))
    plain, compensated = (output_error(w - weight, moments).sum() for w in (rounded, moved))
    assert compensated < 0.5 * plain


@given(seeds, bits_strategy)
@settings(max_examples=20, deadline=None)
def test_moved_weights_lie_within_the_range_where_each_has_a_gradient(seed, bits):
    weight, _, moments = drawn(seed, channels=12)
    scale = 0.5 * max_scale(weight, bits)  # clips
    moved = compensate(weight, scale, bits, moments)
    assert bool((codes(moved, scale, bits) == code_range(bits)[1]).any())
    assert bool((weight_gradient(torch.ones_like(moved), moved / scale, bits) == 1).all())


def test_a_group_is_moved_as_if_it_were_alone():
    weight, _, moments = drawn(2)
    scale = max_scale(weight, 4)
    together = compensate(weight, scale, 4, moments)
    for g in range(2):
        one = slice(g, g + 1)
        assert torch.allclose(compensate(weight[one], scale[one], 4, moments[one]), together[one], atol=1e-6)


@pytest.mark.parametrize("dead", [(3,), tuple(range(9))])
def test_inputs_that_are_always_zero_move_nothing_and_break_nothing(dead):
    weight, inputs, _ = drawn(3)
    inputs[:, list(dead)] = 0.0
    scale = max_scale(weight, 4)
    moved = compensate(weight, scale, 4, inputs @ inputs.transpose(1, 2) / inputs.shape[2])
    assert bool(torch.isfinite(moved).all())
    assert torch.allclose(moved[:, :, list(dead)], weight[:, :, list(dead)])
