"""Scales that follow their weights, against a loop over channels."""

import pytest
import torch

from qat_train.insertion import initialise_scales, layer_codes, layer_scale
from qat_train.interventions import build
from qat_train.interventions.following import Following

from .reference import Disturbance, amax_of, two_convolutions


def largest(model, name, *, per_channel):
    """Of the float64 weights, one channel after the other."""
    rows = model.get_submodule(name).weight.detach().double().flatten(1)
    found = [max(abs(value) for value in row) for row in rows.tolist()]
    return found if per_channel else [max(found)]


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("init", ["max", "mse"])
@pytest.mark.parametrize("strength", [1.0, 0.01, 0.3])
def test_every_scale_goes_its_share_of_the_way(granularity, init, strength):
    model = two_convolutions(granularity, bits=(4, 3), learned=False)
    initialise_scales(model, init)
    per_channel = granularity == "per-channel"
    amax = {name: amax_of(model, name).double().flatten().tolist() for name in "01"}
    share = {
        name: [a / m for a, m in zip(amax[name], largest(model, name, per_channel=per_channel), strict=True)]
        for name in "01"
    }
    following, disturbance = Following(model, strength), Disturbance(model, seed=1, weights=0.25, scales=0)
    for _ in range(20):
        disturbance.step()
        following.constrain()
        for name in "01":
            wanted = largest(model, name, per_channel=per_channel)
            amax[name] = [a + strength * (c * m - a) for a, c, m in zip(amax[name], share[name], wanted, strict=True)]
            assert amax_of(model, name).flatten().tolist() == pytest.approx(amax[name], rel=1e-5)


def test_by_hand():
    """amax 1 at a largest weight of 1; the weight grows to 3, a quarter of the way is 1.5."""
    model = two_convolutions(learned=False)
    with torch.no_grad():
        for name in "01":
            model.get_submodule(name).weight.fill_(1.0)
            amax_of(model, name).fill_(1.0)
    following = build({"following": 0.25}, model=model, tracker=None, teacher=None)["following"]
    with torch.no_grad():
        model[0].weight[2, 1, 0, 0] = -3.0
    following.constrain()
    assert amax_of(model, "0").flatten().tolist() == [1.0, 1.0, 1.5, 1.0]
    assert amax_of(model, "1").flatten().tolist() == [1.0] * 4


def test_scales_that_start_at_the_maximum_and_follow_at_once_never_clip():
    model = two_convolutions(learned=False)
    initialise_scales(model, "max")
    following, disturbance = Following(model, 1.0), Disturbance(model, seed=2, weights=0.25, scales=0)
    for _ in range(20):
        disturbance.step()
        following.constrain()
        for conv in model:
            limit = 7 * layer_scale(conv.weight_quantizer) * (1 + 1e-6)
            assert (conv.weight.abs() <= limit).all()
            assert layer_codes(conv, conv.weight_quantizer).abs().max() == 7


def test_a_channel_of_zeros_keeps_a_positive_scale():
    model = two_convolutions(learned=False)
    following = Following(model, 1.0)
    with torch.no_grad():
        model[0].weight.zero_()
    following.constrain()
    assert (amax_of(model, "0") > 0).all()


def test_the_share_is_that_of_the_start_whatever_the_weights_are_when_a_run_goes_on():
    model = two_convolutions(learned=False)
    initialise_scales(model, "mse")
    following = Following(model, 0.5)
    state = {name: value.clone() for name, value in following.state().items()}
    with torch.no_grad():
        for conv in model:
            conv.weight.mul_(3.0)  # amax stands: a fresh start would take a third of the share
    resumed = Following(model, 0.5)
    resumed.load_state(state)
    found = resumed.state()
    assert found.keys() == state.keys() == {"0", "1"}
    assert all(torch.equal(found[name], value) for name, value in state.items())
