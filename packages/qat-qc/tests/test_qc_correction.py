"""Attach, train, fold, re-estimate: on a network of its own, against the equations."""

import copy
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qat_qc import (
    Correction,
    CorrectionError,
    attach,
    fixed_batch_norm,
    fold,
    fold_and_compare,
    identity,
    reestimate_bn,
    train,
)

from .conftest import Layer, Net, ToyTask


def disturb(correction, seed=0, spread=0.3):
    """Random gamma around 1 and beta around 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in correction.layers:
            noise = torch.rand(2, layer.gamma.numel(), generator=generator, dtype=layer.gamma.dtype) * 2 - 1
            layer.gamma.copy_(1 + spread * noise[0])
            layer.beta.copy_(spread * noise[1])


def test_the_identity_changes_nothing(task):
    correction = identity(task.model, task.layers())
    before = task.model(task.x)
    with attach(task.model, correction):
        assert torch.equal(task.model(task.x), before)


def spelled_out(net, correction, x):
    """The corrected network by the definition: gamma h + beta after each convolution, on fixed statistics."""
    first, second, last = (
        lambda h, c=c: c.gamma.view(1, -1, 1, 1) * h + c.beta.view(1, -1, 1, 1) for c in correction.layers
    )
    x = torch.relu(net.bn1(first(net.conv1(x))))
    x = torch.relu(net.bn2(second(net.conv2(x))))
    return last(net.conv3(x)).mean((2, 3))


@pytest.mark.parametrize("mode", [False, True])
def test_a_correction_acts_between_convolution_and_norm_and_only_inside_the_block(mode):
    """Outputs, and the gradients that train it, are those of the definition."""
    net, x = Net(dtype=torch.float64).train(mode), torch.randn(4, 3, 9, 9, dtype=torch.float64)
    for norm in (net.bn1, net.bn2):
        norm.momentum = 0.0  # a norm in training mode takes the batch's statistics, and would move its own
    correction = identity(net, ToyTask().layers())
    disturb(correction)
    plain = net(x)
    wanted = spelled_out(net, correction, x)
    gradients = torch.autograd.grad(wanted.square().sum(), correction.parameters())
    with attach(net, correction):
        found = net(x)
        other = torch.autograd.grad(found.square().sum(), correction.parameters())
    assert not torch.allclose(plain, wanted)
    assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(other, gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-8, atol=1e-10)
    assert torch.equal(net(x), plain)
    assert "forward" not in net.bn1.__dict__


def test_names_that_are_no_convolution_or_no_fitting_norm_are_refused(task):
    with pytest.raises(CorrectionError, match="bn1: a convolution is needed, found BatchNorm2d"):
        identity(task.model, [Layer("bn1", None)])
    with pytest.raises(CorrectionError, match="bn1: 8 features, conv3 has 5 channels"):
        identity(task.model, [Layer("conv3", "bn1")])
    task.model.bn1 = nn.BatchNorm2d(8, affine=False)
    with pytest.raises(CorrectionError, match="affine batch norm with running statistics"):
        identity(task.model, [Layer("conv1", "bn1")])


def test_training_visits_each_image_once_and_moves_nothing_but_gamma_and_beta(task):
    before = copy.deepcopy(task.model.state_dict())
    needed = {name: p.requires_grad for name, p in task.model.named_parameters()}
    modes = {name: m.training for name, m in task.model.named_modules()}
    correction = identity(task.model, task.layers())
    done = train(task.model, correction, task.batches, task.loss, images=12)
    assert sorted(task.visits) == list(range(12))
    assert (done.steps, done.images) == (3, 12)
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())
    assert {name: p.requires_grad for name, p in task.model.named_parameters()} == needed
    assert {name: m.training for name, m in task.model.named_modules()} == modes
    for layer in correction.layers:
        assert not torch.equal(layer.gamma, torch.ones_like(layer.gamma))
        assert not torch.equal(layer.beta, torch.zeros_like(layer.beta))


@pytest.mark.parametrize(("one", "other", "identical"), [("gamma", "beta", 0.0), ("beta", "gamma", 1.0)])
def test_training_of_one_parameter_leaves_the_other_at_the_identity(task, one, other, identical):
    correction = identity(task.model, task.layers())
    train(task.model, correction, task.batches, task.loss, images=12, lr=1e-2, parameters=(one,))
    for layer in correction.layers:
        assert torch.equal(getattr(layer, other), torch.full_like(getattr(layer, other), identical))
        assert not torch.equal(getattr(layer, one), torch.full_like(getattr(layer, one), 1.0 - identical))
        assert all(p.requires_grad for p in (layer.gamma, layer.beta))


def test_a_fixed_parameter_that_moves_is_an_error(task):
    correction = identity(task.model, task.layers())

    def loss(batch):
        with torch.no_grad():
            correction.layers[0].beta.add_(1e-3)
        return task.loss(batch)

    with pytest.raises(CorrectionError, match="training of gamma alone moved the other one"):
        train(task.model, correction, task.batches, loss, images=12, parameters=("gamma",))


def test_nothing_to_train_is_the_callers_mistake(task):
    correction = identity(task.model, task.layers())
    with pytest.raises(ValueError, match=r"parameters must be gamma, beta or both, found \(\)"):
        train(task.model, correction, task.batches, task.loss, images=12, parameters=())
    with pytest.raises(ValueError, match=r"found \('gamma', 'delta'\)"):
        train(task.model, correction, task.batches, task.loss, images=12, parameters=("gamma", "delta"))
    with pytest.raises(ValueError, match="no layer to train"):
        train(task.model, Correction(layers=()), task.batches, task.loss, images=12)


def test_training_lowers_the_loss(task):
    correction = identity(task.model, task.layers())

    def loss():
        with torch.no_grad(), fixed_batch_norm(task.model), attach(task.model, correction):
            return float(task.loss({"img": task.x, "cls": task.y}))

    before = loss()
    train(task.model, correction, task.batches, task.loss, images=12, epochs=20, lr=1e-2)
    assert loss() < 0.9 * before


def test_the_same_seed_trains_the_same_correction():
    found = []
    for _ in range(2):
        task = ToyTask()
        correction = identity(task.model, task.layers())
        train(task.model, correction, task.batches, task.loss, images=12, seed=3)
        found.append(torch.cat([p.detach() for p in correction.parameters()]))
    assert torch.equal(*found)


def test_an_image_that_comes_twice_or_not_at_all_is_an_error(task):
    correction = identity(task.model, task.layers())
    twice = [({"img": task.x[:4], "cls": task.y[:4]}, list("abcd"))] * 2
    with pytest.raises(CorrectionError, match="a comes a second time"):
        train(task.model, correction, lambda _: twice, task.loss, images=8)
    with pytest.raises(CorrectionError, match="visited 4 images, the data set has 12"):
        train(task.model, correction, lambda _: twice[:1], task.loss, images=12)


def test_a_loss_that_is_not_finite_is_an_error_and_leaves_the_model(task):
    before = copy.deepcopy(task.model.state_dict())
    correction = identity(task.model, task.layers())
    with pytest.raises(CorrectionError, match="the loss became nan after 0 steps"):
        train(task.model, correction, task.batches, lambda b: task.loss(b) * float("nan"), images=12)
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())


def test_fixed_batch_norm_holds_against_train_mode_and_restores_it(task):
    task.model.train()
    before = copy.deepcopy(task.model.bn1.state_dict())
    with fixed_batch_norm(task.model):
        task.model.train()
        task.model(task.x)
    assert all(torch.equal(v, before[k]) for k, v in task.model.bn1.state_dict().items())
    assert task.model.bn1.training
    task.model(task.x)
    assert not torch.equal(task.model.bn1.running_mean, before["running_mean"])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
@pytest.mark.parametrize("seed", range(5))
def test_the_folded_model_agrees_and_keeps_every_code(dtype, tolerance, seed):
    task = ToyTask(dtype=dtype)
    correction = identity(task.model, task.layers())
    disturb(correction, seed)
    codes = {name: task.codes(name) for name in ("conv1", "conv2", "conv3")}
    with attach(task.model, correction):
        expected = task.model(task.x)
    folded, skipped = fold_and_compare(task.model, correction, task, task.x)
    assert skipped == ()
    found = task.model(task.x)
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()
    assert folded.max_abs_error <= tolerance * folded.max_abs_output
    assert folded.codes_changed == 0
    assert all(torch.equal(task.codes(name), value) for name, value in codes.items())


@given(
    gamma=st.floats(-3, 3).filter(lambda g: abs(g) > 1e-3),
    beta=st.floats(-3, 3),
    a=st.floats(-2, 2).filter(lambda v: abs(v) > 1e-3),
    b=st.floats(-2, 2),
    mean=st.floats(-2, 2),
    var=st.floats(1e-3, 4),
)
@settings(deadline=None)
def test_the_norm_form_is_the_equation(gamma, beta, a, b, mean, var):
    task = ToyTask(dtype=torch.float64)
    norm = task.model.bn1
    with torch.no_grad():
        norm.weight.fill_(a)
        norm.bias.fill_(b)
        norm.running_mean.fill_(mean)
        norm.running_var.fill_(var)
    correction = identity(task.model, task.layers()[:1])
    with torch.no_grad():
        correction.layers[0].gamma.fill_(gamma)
        correction.layers[0].beta.fill_(beta)
    fold(task.model, correction, task)
    assert norm.weight[0].item() == pytest.approx(a * gamma, rel=1e-12)
    expected = b + a * (beta + (gamma - 1) * mean) / (var + norm.eps) ** 0.5
    assert norm.bias[0].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_form_without_a_norm_multiplies_scale_and_bias(task):
    correction = identity(task.model, task.layers()[2:])
    disturb(correction)
    scale, bias = task.get_scale("conv3"), task.model.conv3.bias.detach().clone()
    fold(task.model, correction, task)
    gamma, beta = correction.layers[0].gamma.detach(), correction.layers[0].beta.detach()
    assert torch.allclose(task.get_scale("conv3"), scale * gamma.view(-1, 1, 1, 1))
    assert torch.allclose(task.model.conv3.bias, gamma * bias + beta)


def test_a_negative_gamma_never_reaches_a_scale(task):
    correction = identity(task.model, task.layers()[2:])
    with torch.no_grad():
        correction.layers[0].gamma[1] = -0.5
    with pytest.raises(CorrectionError, match=r"conv3: gamma must be above 0 to fold into a scale, lowest -0\.5"):
        fold(task.model, correction, task)


def test_one_scale_for_the_whole_tensor_cannot_take_a_correction():
    task = ToyTask(per_channel=False)
    correction = identity(task.model, task.layers())
    disturb(correction)
    skipped = fold(task.model, correction, task)
    assert [layer.name for layer in skipped] == ["conv3"]


def test_a_fold_that_moves_codes_is_refused(task, monkeypatch):
    correction = identity(task.model, task.layers()[2:])
    disturb(correction)
    monkeypatch.setattr(task, "set_scale", lambda name, scale: task.model.conv3.scale.mul_(3))
    monkeypatch.setattr(task, "get_scale", lambda name: task.model.conv3.scale / 3)
    with pytest.raises(CorrectionError, match=r"conv3: folding changed \d+ codes"):
        fold(task.model, correction, task)


def test_reestimation_gives_the_statistics_of_the_batches():
    model = Net().eval()
    weights = copy.deepcopy({k: v for k, v in model.state_dict().items() if "running" not in k and "num_" not in k})
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(4, 3, 8, 8, generator=generator) for _ in range(3)]
    assert reestimate_bn(model, batches, model) == 2
    means = torch.stack([model.conv1(b).mean((0, 2, 3)) for b in batches]).mean(0)
    assert torch.allclose(model.bn1.running_mean, means, atol=1e-6)
    assert not model.bn1.training
    assert model.bn1.momentum == 0.1
    assert all(torch.equal(model.state_dict()[k], v) for k, v in weights.items())


def test_reestimation_without_batches_leaves_everything():
    model = Net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CorrectionError, match="no batch to estimate"):
        reestimate_bn(model, [], model)
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize("after", [0, 2])
def test_reestimation_that_breaks_off_leaves_everything(task, after):
    before = copy.deepcopy(task.model.state_dict())

    def forward(batch):
        if len(task.visits) > 4 * after:
            raise RuntimeError("no memory")
        task.forward(batch)

    with pytest.raises(RuntimeError, match="no memory"):
        reestimate_bn(task.model, (batch for batch, _ in task.batches(0)), forward)
    assert all(torch.equal(task.model.state_dict()[k], v) for k, v in before.items())
    assert not any(m.training for m in task.model.modules())


def test_reestimation_from_what_is_not_finite_is_refused(task):
    before = copy.deepcopy(task.model.state_dict())
    with pytest.raises(CorrectionError, match=r"bn1\.running_mean is not finite after re-estimation"):
        reestimate_bn(task.model, [task.x * float("nan")], task.model)
    assert all(torch.equal(task.model.state_dict()[k], v) for k, v in before.items())


def test_reestimation_that_moves_a_weight_is_refused(task):
    def forward(batch):
        task.model(batch)
        task.model.conv1.weight.mul_(2)

    with pytest.raises(CorrectionError, match=r"re-estimation moved conv1\.weight"):
        reestimate_bn(task.model, [task.x], forward)


def test_a_norm_that_no_pass_reaches_keeps_its_statistics(task):
    task.model.spare = nn.BatchNorm2d(3)
    task.model.spare.running_mean.fill_(5)
    assert reestimate_bn(task.model, [task.x], task.model) == 2
    assert torch.equal(task.model.spare.running_mean, torch.full((3,), 5.0))
    assert reestimate_bn(nn.BatchNorm2d(3), [task.x], lambda _: None) == 0


def test_a_correction_of_nothing_has_no_parameters():
    assert Correction(layers=()).parameters() == []


@pytest.mark.parametrize(
    ("names", "text"),
    [(["nowhere"], "nowhere: the model has no module of that name"), (["0", "0"], "0: named twice")],
)
def test_layers_that_are_not_there_or_come_twice_are_refused(names, text):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    layers = [SimpleNamespace(name=name, batch_norm=None) for name in names]
    with pytest.raises(CorrectionError, match=text):
        identity(model, layers)


@pytest.mark.parametrize(("epochs", "lr"), [(0, 1e-4), (1, 0.0)])
def test_a_training_of_nothing_is_refused(epochs, lr):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    correction = identity(model, [SimpleNamespace(name="0", batch_norm=None)])
    with pytest.raises(CorrectionError, match="epochs must be at least 1 and lr above 0"):
        train(model, correction, lambda seed: [], lambda batch: batch, images=1, epochs=epochs, lr=lr)
