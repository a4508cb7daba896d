"""Peers: other libraries' quantizers under our recipe. Each really is that library's, and really quantizes."""

import copy

import attrs
import pytest
import torch
from torch import nn

from qat_train.errors import InputError, SpecError
from qat_train.insertion import OffGrid
from qat_train.peers import assert_peer_on_grid, load_peer
from qat_train.quantizer import code_range
from qat_train.spec import QuantizationKey

WEIGHT_ONLY = ("modelopt", "torch-ao", "brevitas")
BITS = {"0": 4, "2": 3, "4": None}


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=8, padding=2, dilation=2),
        nn.SiLU(),
        nn.Conv2d(8, 4, 1),
    )


def no_images():
    raise AssertionError("a weight-only quantizer looks at no image")


@pytest.fixture(params=WEIGHT_ONLY)
def name(request):
    if request.param == "brevitas":
        pytest.importorskip("brevitas")
    return request.param


def quantized(name, model=None, **keys):
    key = QuantizationKey(quantizer=name, **{"init": "max", **keys})
    peer, model = load_peer(name), model or small_model()
    peer.check(key)
    peer.insert(model, BITS, key, no_images)
    return peer, model


# Codes of a channel's largest weight: ModelOpt and Brevitas put it on the highest code, torch.ao between the two ends.
LARGEST = {
    "modelopt": lambda b: 2 ** (b - 1) - 1,
    "brevitas": lambda b: 2 ** (b - 1) - 1,
    "torch-ao": lambda b: (2**b - 1) / 2,
}


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_scales_and_codes_are_the_librarys_own(name, granularity):
    original = small_model()
    peer, model = quantized(name, granularity=granularity)
    found = {weight.name: weight for weight in peer.weights(model)}
    assert {n: w.bits for n, w in found.items()} == {"0": 4, "2": 3}
    for layer, weight in found.items():
        latent = original.get_submodule(layer).weight.detach()
        axes = (1, 2, 3) if granularity == "per-channel" else (0, 1, 2, 3)
        scale = latent.abs().amax(dim=axes, keepdim=True) / LARGEST[name](weight.bits)
        assert torch.allclose(weight.scale.reshape(scale.shape), scale, rtol=1e-6)
        low, high = code_range(weight.bits)
        low = low + 1 if name == "brevitas" else low  # its range is narrow
        codes = torch.clamp(torch.round(latent / scale), low, high)
        differing = (weight.used / scale).round() != codes
        assert differing.float().mean() < 0.01  # kernels that multiply by a reciprocal disagree on a few
        assert torch.equal(model.get_submodule(layer).weight.detach(), latent)


def test_forward_uses_the_quantized_weights_and_nothing_else_changes(name):
    original, (peer, model) = small_model(), quantized(name)
    used = {weight.name: weight.used.detach() for weight in peer.weights(model)}
    for layer, value in used.items():
        original.get_submodule(layer).weight.data.copy_(value)
    images = torch.rand(2, 3, 16, 16)
    assert torch.allclose(model.eval()(images), original.eval()(images), atol=1e-5)


def test_gradients_reach_the_latent_weights(name):
    _, model = quantized(name)
    model.train()(torch.rand(2, 3, 16, 16)).square().sum().backward()
    assert all(model.get_submodule(layer).weight.grad.abs().sum() > 0 for layer in ("0", "2", "4"))


def test_a_copy_follows_its_own_weights(name):
    """The average is a deep copy: its codes must come from its weights, not from those it was copied from."""
    peer, model = quantized(name)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.get_submodule("0").weight.mul_(-1)
    here, there = (next(iter(peer.weights(m))).used for m in (model, twin))
    assert torch.allclose(here, -there, atol=float(here.abs().max()) / 4)
    assert not torch.equal(here, there)


def test_an_evaluation_changes_nothing(name):
    _, model = quantized(name)
    with torch.no_grad():
        model.get_submodule("0").weight.mul_(3)  # a range that an observer would take in
    model.eval()
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model(torch.rand(2, 3, 16, 16))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_state_dict_restores_a_peer(name):
    peer, model = quantized(name)
    with torch.no_grad():
        model.get_submodule("0").weight.add_(0.1)
    model.train()(torch.rand(2, 3, 16, 16))
    _, again = quantized(name)
    again.load_state_dict(model.state_dict())
    for a, b in zip(peer.weights(model.eval()), peer.weights(again.eval()), strict=True):
        assert torch.equal(a.used, b.used)


def test_the_guard_sees_a_quantizer_that_is_off(name):
    peer, model = quantized(name)
    assert_peer_on_grid(peer, model, 2)
    with pytest.raises(OffGrid, match=r"2 quantizers of .* are active, the policy has 3"):
        assert_peer_on_grid(peer, model, 3)
    with pytest.raises(OffGrid, match="0 quantizers"):
        assert_peer_on_grid(peer, small_model(), 2)
    lying = attrs.evolve(peer, weights=lambda m: (attrs.evolve(w, used=w.used * 1.1) for w in peer.weights(m)))
    with pytest.raises(OffGrid, match="0: the weight in use is off the 4-bit grid"):
        assert_peer_on_grid(lying, model, 2)


def test_brevitas_learns_a_scale():
    pytest.importorskip("brevitas")
    peer, model = quantized("brevitas", learned=True)
    fixed, _ = quantized("brevitas")
    assert fixed.scales(quantized("brevitas")[1]) == []
    scales = peer.scales(model)
    assert [s.numel() for s in scales] == [8, 8]
    model.train()(torch.rand(2, 3, 16, 16)).square().sum().backward()
    assert all(s.requires_grad and s.grad.abs().sum() > 0 for s in scales)


@pytest.mark.parametrize("name", ["modelopt", "brevitas"])
def test_a_scale_of_least_squared_error_errs_less(name):
    if name == "brevitas":
        pytest.importorskip("brevitas")
    latent = small_model().get_submodule("0").weight.detach()
    errors = []
    for init in ("max", "mse"):
        peer, model = quantized(name, init=init)
        assert not [s for s in peer.scales(model) if s.requires_grad]
        errors.append((next(iter(peer.weights(model))).used - latent).square().sum())
    assert errors[1] < errors[0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"quantizer": "torch-ao", "init": "mse"}, "quantization.init = mse: the quantizer 'torch-ao' takes max"),
        (
            {"quantizer": "modelopt", "learned": True},
            "quantization.learned = true: the quantizer 'modelopt' takes false",
        ),
        ({"quantizer": "ultralytics", "init": "max"}, "quantization.bits = 4: the quantizer 'ultralytics' takes 8"),
        ({"quantizer": "modelopt", "bits": 32}, "quantization.bits = 32: the quantizer 'modelopt' takes 2, 3"),
    ],
)
def test_keys_without_a_counterpart_are_refused(make_spec, train, keys, message):
    with pytest.raises(SpecError, match=message):
        train(make_spec(quantization=keys))


def test_interventions_on_codes_are_refused(make_spec, train):
    spec = make_spec(quantization={"quantizer": "modelopt"}, interventions={"dampening": 0.1, "distillation": 1.0})
    with pytest.raises(SpecError, match=r"\[interventions\] dampening: needs quantization.quantizer = 'qat-train'"):
        train(spec)


@pytest.fixture(scope="module")
def seen(checkpoint, dataset, tmp_path_factory):
    """The random detector with batch norm statistics of the drawn images: without, activations have no range."""
    from qat_train.detector import load_detector, save_pt
    from qat_train.evaluator import calibration_images

    model = load_detector(str(checkpoint), seed=0).model
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    yaml, device = dataset.parent / "data.yaml", torch.device("cpu")
    with torch.no_grad():
        for images in calibration_images(yaml, imgsz=64, batch=8, device=device, images=64):
            model.train()(images)
    path = tmp_path_factory.mktemp("seen") / "yolov10n.pt"
    save_pt(model, path, train_arguments={"imgsz": 64, "task": "detect"})
    return path


@pytest.mark.slow
@pytest.mark.parametrize("quantizer", [*WEIGHT_ONLY, "ultralytics"])
def test_a_peer_trains_in_the_recipe_and_resumes_to_the_same_numbers(
    make_spec, train, train_cut_off, tmp_path, seen, quantizer
):
    if quantizer == "brevitas":
        pytest.importorskip("brevitas")
    keys = {"quantizer": quantizer, "init": "max", "bits": 8 if quantizer == "ultralytics" else 4}
    spec = make_spec(quantization=keys, model={"checkpoint": str(seen)})
    run, out = train(spec)
    block = run.quantization
    assert block.library == load_peer(quantizer).library
    assert block.mode == ("w8a8" if quantizer == "ultralytics" else "w4a16")
    assert run.references.ptq is not None
    assert run.status == "completed"
    whole = (out / "metrics.jsonl").read_text().splitlines()

    train_cut_off(spec, resume="auto")
    again = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    hashes = [[part.split('"')[3] for part in line.split("weights_sha256")[1:]] for line in (whole[-1], again[-1])]
    assert hashes[0] == hashes[1]

    from qat_train.checkpoint import load_checkpoint

    with pytest.raises(InputError, match="a row to compare with"):
        load_checkpoint(out / "checkpoint" / "checkpoint.json", "raw")
