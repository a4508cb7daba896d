"""Weights quantized all at once for a training pass, against the layers one by one."""

import copy

import pytest
import torch
from torch import nn

from qat_train.insertion import assert_on_grid
from qat_train.weight_pass import WeightPass

from .reference import amax_of, two_convolutions

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def pair(granularity="per-channel", *, bits=(4, 3), learned=True):
    """The same model twice, the second with the pass; a third of the weights lies outside the range."""
    one = two_convolutions(granularity, bits=bits, learned=learned)
    with torch.no_grad():
        for name in "01":
            amax_of(one, name).mul_(0.7)
    other = copy.deepcopy(one)
    WeightPass(other)
    return one.train(), other.train()


def gradients(model, images=IMAGES):
    """Loss and gradient of every parameter after one more pass."""
    output = model(images)
    output.float().square().sum().backward()
    return output.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(one, other):
    (output, found), (expected, wanted) = other, one
    assert torch.equal(output, expected)
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        assert torch.equal(found[name], gradient), name


@pytest.mark.parametrize("learned", [False, True], ids=["fixed", "learned"])
@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("bits", [(4, 4), (2, 8)], ids=str)
def test_outputs_and_gradients_are_bit_equal_to_the_layers_one_by_one(granularity, bits, learned):
    one, other = pair(granularity, bits=bits, learned=learned)
    for _ in range(2):  # gradients add up, as over the batches of one optimizer step
        first = gradients(one)
        assert_same(first, gradients(other))
    assert any("_amax" in name for name in first[1]) is learned
    clipped = next(gradient for name, gradient in first[1].items() if name == "0.weight")
    assert (clipped == 0).any()
    assert not (clipped == 0).all()


def test_two_passes_may_wait_for_their_backward():
    one, other = pair()
    for model in (one, other):
        (model(IMAGES).sum() + model(2 * IMAGES).square().sum()).backward()
    assert torch.equal(one[0].weight.grad, other[0].weight.grad)
    assert torch.equal(amax_of(one, "1").grad, amax_of(other, "1").grad)


def test_half_precision_of_the_convolution_leaves_the_codes_alone():
    one, other = pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first, second = gradients(one), gradients(other)
    assert first[0].dtype == torch.bfloat16
    assert_same(first, second)


def test_a_layer_that_the_loss_does_not_need_has_no_gradient():
    _, model = pair()
    kept = []
    model[0].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    model(IMAGES)
    kept[0].sum().backward()
    assert model[0].weight.grad is not None
    assert model[1].weight.grad is None
    assert amax_of(model, "1").grad is None


def test_outside_a_training_pass_the_quantizers_answer_themselves():
    one, model = pair()
    gradients(model)
    with torch.no_grad():
        for changed in (one, model):
            changed[0].weight.mul_(1.5)
            amax_of(changed, "1").mul_(1.2)
    assert_on_grid(model, 2)  # no weight of the pass before is left
    assert torch.equal(model.eval()(IMAGES), one.eval()(IMAGES))
    with torch.no_grad():
        assert torch.equal(model.train()(IMAGES), one.train()(IMAGES))


def test_a_pass_that_fails_leaves_nothing_behind():
    one, model = pair()
    with pytest.raises(RuntimeError, match="channels"):
        model(torch.zeros(1, 5, 8, 8))
    with torch.no_grad():
        model[0].weight.mul_(2)
        one[0].weight.mul_(2)
    assert torch.equal(model.eval()(IMAGES), one.eval()(IMAGES))


def test_a_layer_whose_activations_are_quantized_too_is_left_to_modelopt():
    one, model = (two_convolutions(learned=False).train() for _ in range(2))
    for changed in (one, model):
        quantizer = changed[1].input_quantizer
        quantizer.num_bits, quantizer.amax = 4, torch.tensor(0.5)
        quantizer.enable()
    WeightPass(model)
    assert torch.equal(model(IMAGES), one(IMAGES))
    one[1].input_quantizer.disable()
    assert not torch.equal(model(IMAGES), one(IMAGES))


def test_a_model_without_quantizers_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    WeightPass(model)
    assert not model._forward_pre_hooks
    assert not model._forward_hooks
