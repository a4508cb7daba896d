"""Batch norm in scales and biases: codes as trained, numbers as a float64 reference, and what cannot be folded."""

import attrs
import numpy as np
import pytest
import torch
from ultralytics.nn.modules.conv import Conv

from qat_train.detector import load_detector
from qat_train.errors import InputError, TrainError
from qat_train.export.deployed import deploy
from qat_train.export.folding import fold_detector
from qat_train.insertion import OffGrid, active_quantizers, layer_codes, layer_scale

from .exported import describe, make_detector


@pytest.fixture(scope="module")
def trained():
    return make_detector()


@pytest.fixture(scope="module")
def network(trained):
    model, count = trained
    return fold_detector(model, describe(model), quantized_layers=count)


def test_codes_are_the_trained_ones_and_scales_a_float64_reference(trained, network):
    model, _ = trained
    quantizers = {name: (conv, quantizer) for name, conv, quantizer in active_quantizers(model)}
    for layer in network.layers:
        name = layer.convolution.name
        if name == "model.23.dfl.conv":
            continue
        conv, quantizer = quantizers[name]
        assert np.array_equal(layer.values, layer_codes(conv, quantizer).numpy())
        parent = model.get_submodule(name.rpartition(".")[0])
        factor, shift = torch.ones(conv.out_channels).double(), torch.zeros(conv.out_channels).double()
        if isinstance(parent, Conv):
            norm = parent.bn
            factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            shift = norm.bias.double() - factor * norm.running_mean.double()
        bias = shift + (factor * conv.bias.double() if conv.bias is not None else 0)
        scale = factor * layer_scale(quantizer).double().flatten()
        assert np.array_equal(layer.scale, scale.detach().float().numpy())
        assert np.allclose(layer.bias, bias.detach().numpy(), rtol=1e-6, atol=1e-7)


def test_lowest_code_under_a_negative_scale_keeps_its_code_and_its_value(network):
    layers = [layer for layer in network.layers if layer.convolution.bits == 4]
    edge = [(layer, c) for layer in layers for c in np.flatnonzero((layer.values == -8).any(axis=(1, 2, 3)))]
    negative = [(layer, c) for layer, c in edge if layer.scale[c] < 0]
    assert len(negative) > 100  # turned around, each of these would need +8
    for layer, channel in negative:
        at = layer.values[channel] == -8
        assert np.array_equal(layer.weight[channel][at], np.full(at.sum(), np.float32(-8) * layer.scale[channel]))


def test_one2many_branches_are_left_out_and_the_rest_is_there(network):
    names = [layer.convolution.name for layer in network.layers]
    assert len(names) == 83
    assert not any(name.startswith(("model.23.cv2.", "model.23.cv3.")) for name in names)
    assert sum("one2one" in name for name in names) == 24
    widths = {layer.convolution.name: layer.convolution.bits for layer in network.layers}
    assert (widths["model.0.conv"], widths["model.1.conv"], widths["model.23.dfl.conv"]) == (8, 4, None)


@pytest.mark.parametrize(
    "kind",
    [
        {"bits": 4, "floating": ("model.1.conv", "model.2.cv1.conv")},
        {"bits": 4, "policy": "all", "granularity": "per-tensor"},
        {"bits": 2},
        {"bits": 6, "policy": "all"},
    ],
)
def test_deployed_network_computes_what_the_trained_one_does(kind):
    model, count = make_detector(**kind)
    deployed = deploy(fold_detector(model, describe(model), quantized_layers=count)).double()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(images)[1]["one2one"]
        found = deployed(images.double())[1]["one2one"]
    for part in ("boxes", "scores"):
        error = (found[part] - expected[part]).abs().max() / expected[part].abs().max()
        assert error < 1e-4


def test_a_deployed_network_shares_no_memory_with_the_numbers_it_was_made_of(network):
    before = [layer.weight.copy() for layer in network.layers], [np.copy(layer.bias) for layer in network.layers]
    deployed = deploy(network)
    with torch.no_grad():
        for parameter in deployed.parameters():
            parameter.fill_(7.0)
    for layer, weight, bias in zip(network.layers, *before, strict=True):
        assert np.array_equal(layer.weight, weight)
        assert layer.bias is None or np.array_equal(layer.bias, bias)


def test_quantizers_that_are_off_or_gone_are_refused():
    model, count = make_detector()
    next(active_quantizers(model))[2].disable()
    with pytest.raises(OffGrid, match=r"^105 quantizers are active, the policy has 106; was the model fused"):
        fold_detector(model, describe(model), quantized_layers=count)


def test_a_model_that_ultralytics_fused_to_float_is_refused():
    model, count = make_detector()
    model.fuse(verbose=False)
    with pytest.raises(OffGrid):
        fold_detector(model, describe(model), quantized_layers=count)


def test_a_floating_point_model_is_refused():
    model = load_detector("scratch:yolov10n").model
    with pytest.raises(InputError) as caught:
        fold_detector(model, describe(model), quantized_layers=0)
    assert str(caught.value) == (
        "tiny/seed0: a floating-point run has no codes to export; use Ultralytics' own exporter"
    )


def test_a_detector_that_needs_nms_is_refused():
    model, count = make_detector(architecture="yolov8n")
    about = attrs.evolve(describe(model), variant="other")
    with pytest.raises(InputError) as caught:
        fold_detector(model, about, quantized_layers=count)
    assert str(caught.value) == "tiny/seed0: other has no one2one head; only NMS-free detectors are exported"


def test_a_statistic_that_is_not_finite_is_refused_by_name():
    model, count = make_detector()
    model.model[1].bn.running_mean[3] = float("nan")
    with pytest.raises(InputError) as caught:
        fold_detector(model, describe(model), quantized_layers=count)
    assert str(caught.value) == "tiny/seed0: model.1.conv: bias hold a number that is not finite"


def test_a_batch_norm_that_follows_no_convolution_is_refused():
    model, count = make_detector()
    model.model[9].extra = torch.nn.BatchNorm2d(4)
    with pytest.raises(TrainError, match=r"^1 batch norms follow no convolution and cannot be folded$"):
        fold_detector(model, describe(model), quantized_layers=count)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"architecture": {"nc": 80, "backbone": "none"}}, "tiny/seed0: the architecture cannot be built: "),
        ({"class_width": 96}, "model.23.one2one_cv3.0.0.1.conv: the layer is "),
        ({"names": ("a", "b")}, "model.23.one2one_cv3.0.2: the layer is "),
    ],
)
def test_an_architecture_that_is_not_of_the_layers_is_refused(network, change, text):
    with pytest.raises(InputError) as caught:
        deploy(attrs.evolve(network, about=attrs.evolve(network.about, **change)))
    assert str(caught.value).startswith(text)


def test_an_architecture_cannot_run_code(network, tmp_path):
    trap = tmp_path / "trapped"
    hostile = network.about.architecture | {"activation": f"__import__('pathlib').Path({str(trap)!r}).touch()"}
    with pytest.raises(InputError, match="the architecture cannot be built"):
        deploy(attrs.evolve(network, about=attrs.evolve(network.about, architecture=hostile)))
    assert not trap.exists()


def test_layers_that_are_missing_are_named(network):
    with pytest.raises(InputError) as caught:
        deploy(attrs.evolve(network, layers=network.layers[1:]))
    assert str(caught.value) == "tiny/seed0: model.0.conv is in the architecture or in the layers, not in both"
