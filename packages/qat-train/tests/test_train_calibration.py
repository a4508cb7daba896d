"""Scales and weights from what layers are given: moments by brute force, and a detector before and after."""

import copy
import itertools

import attrs
import pytest
import torch
from torch import nn
from ultralytics.nn.modules.conv import Conv

from qat_train import calibration
from qat_train.calibration import calibrate, second_moments
from qat_train.errors import InputError, SpecError
from qat_train.gptq import compensate, least_error_amax
from qat_train.insertion import active_quantizers, assert_on_grid, insert_quantizers, layer_codes, layer_scale
from qat_train.metrics import read_metrics
from qat_train.preparation import measure_references, prepare
from qat_train.quantizer import codes, scale_from_amax
from qat_train.sensitivity import scan

from .exported import settle_statistics


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
        {"kernel_size": (1, 3), "padding": (0, 1), "groups": 4},
    ],
)
def test_moments_are_those_of_the_inputs_that_each_output_is_made_of(options):
    conv = nn.Conv2d(4, 8, bias=False, **options)
    images = torch.randn(6, 4, 7, 5)
    moments = second_moments(conv, images)
    size = conv.weight[0].numel()
    assert moments.shape == (conv.groups, size, size)
    # A convolution whose kernels pick one of a group's inputs each gives those inputs themselves.
    for g in range(conv.groups):
        picking = nn.Conv2d(4 // conv.groups, size, bias=False, **{**options, "groups": 1})
        with torch.no_grad():
            picking.weight.copy_(torch.eye(size).reshape(picking.weight.shape))
            width = 4 // conv.groups
            seen = picking(images[:, g * width : (g + 1) * width]).transpose(0, 1).flatten(1)
        assert torch.allclose(moments[g], seen @ seen.T / seen.shape[1], atol=1e-4)


def block(bits=3):
    """One convolution with its batch norm, quantized, and what it was before."""
    torch.manual_seed(0)
    model = nn.Sequential(Conv(8, 16, 3, act=False)).eval()
    model[0].bn.running_mean.normal_()
    model[0].bn.running_var.uniform_(0.5, 2.0)
    before = copy.deepcopy(model)
    insert_quantizers(model, {"0.conv": bits}, "per-channel")
    return model, before


def correlated_images(count=6):
    """Neighbours alike, as in pictures."""
    small = torch.rand(count, 8, 4, 4, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(small, size=16, mode="bilinear")


def test_what_a_block_hands_on_keeps_mean_and_variance():
    model, before = block()
    images = correlated_images()
    calibrate(model, [images], move_weights=True)
    with torch.no_grad():
        found, expected = model.eval()(images), before(images)
    assert torch.allclose(found.mean((0, 2, 3)), expected.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(found.std((0, 2, 3)), expected.std((0, 2, 3)), rtol=1e-3)
    assert not torch.equal(found, expected)


def test_scale_and_codes_are_those_of_the_images_that_the_block_is_given():
    model, before = block()
    images = correlated_images()
    calibrate(model, [images], move_weights=True)
    columns = nn.functional.unfold(images, 3, padding=1).transpose(0, 1).flatten(1).double()  # (72, places)
    moments = (columns @ columns.T / columns.shape[1]).unsqueeze(0)
    weight = before[0].conv.weight.detach().double().flatten(1).unsqueeze(0)
    amax = least_error_amax(weight, 3, moments, per_channel=True)
    ((_, conv, quantizer),) = active_quantizers(model)
    assert torch.allclose(layer_scale(quantizer).flatten().double(), scale_from_amax(amax, 3).flatten())
    assert not torch.allclose(amax.flatten(), weight.abs().amax(dim=2).flatten())
    scale = layer_scale(quantizer).double().reshape(1, -1, 1)
    expected = codes(compensate(weight, scale, 3, moments), scale, 3).reshape(conv.weight.shape)
    # One weight in a hundred may fall the other way in fp32, and those after it with it.
    assert (layer_codes(conv, quantizer) == expected).float().mean() > 0.98
    assert (codes(weight, scale, 3).reshape(conv.weight.shape) == expected).float().mean() < 0.9


def test_a_layer_that_is_not_finite_is_named():
    model, _ = block()
    with torch.no_grad():
        model[0].conv.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match=r"^0\.conv: weights or inputs are not finite; there is no scale for them$"):
        calibrate(model, [correlated_images()], move_weights=True)


def test_as_many_images_are_drawn_whatever_the_batch(make_spec, tmp_path):
    drawn = []
    for batch in (3, 4, 8):
        prepared = prepare(make_spec(training={"batch": batch}), folder=tmp_path / str(batch), threads=1)
        drawn.append(torch.cat(list(prepared._calibration_images(5))))
    assert len(drawn[0]) == 5
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert len(torch.cat(list(prepared._calibration_images(100)))) == 8  # all there are


def test_a_convolution_with_a_bias_keeps_its_mean_by_the_bias():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 4, 1))
    before = copy.deepcopy(model)
    insert_quantizers(model, {"0": 3}, "per-channel")
    images = correlated_images()
    calibrate(model, [images], move_weights=True)
    with torch.no_grad():
        assert torch.allclose(model(images).mean((0, 2, 3)), before(images).mean((0, 2, 3)), atol=1e-5)


def test_scales_alone_leave_weights_and_statistics_as_they_were():
    model, before = block()
    calibrate(model, [correlated_images()], move_weights=False)
    assert torch.equal(model[0].conv.weight, before[0].conv.weight)
    assert torch.equal(model[0].bn.running_mean, before[0].bn.running_mean)
    assert torch.equal(model[0].bn.running_var, before[0].bn.running_var)


def test_a_model_in_training_mode_is_calibrated_in_evaluation_and_goes_on_training():
    model, before = block()
    model.train()
    calibrate(model, [correlated_images()], move_weights=False)
    assert model.training
    assert torch.equal(model[0].bn.running_mean, before[0].bn.running_mean)


def test_only_the_first_images_count():
    model, _ = block()
    other, _ = block()
    images = torch.rand(calibration.IMAGES, 8, 8, 8)
    calibrate(model, [images], move_weights=True)
    calibrate(other, itertools.chain(images.split(10), itertools.repeat(torch.rand(10, 8, 8, 8))), move_weights=True)
    assert torch.equal(model[0].conv.weight, other[0].conv.weight)


def test_a_convolution_that_no_image_reaches_is_named_and_keeps_the_scale_of_its_weights(caplog):
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

        def forward(self, images):
            return self.used(images)

    model = Branches()
    before = model.unused.weight.detach().clone()
    insert_quantizers(model, {"used": 3, "unused": 3}, "per-channel")
    calibrate(model, [correlated_images()], move_weights=True)
    assert "calibration images do not reach ['unused']" in caplog.text
    assert torch.equal(model.unused.weight, before)
    assert_on_grid(model, 2)


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_a_detector_is_nearer_to_floating_point_when_layers_make_up_for_it(make_spec, tmp_path, granularity):
    """Mean square of the change of the head's raw outputs, over their variance, on the calibration images.

    6 bits: at fewer the error of a network of random weights grows from layer to layer until nothing is left of it.
    """
    spec = make_spec(quantization={"bits": 6, "granularity": granularity})

    def outputs(model):
        with torch.no_grad():
            raw = model.eval()(images)[1]
        return torch.cat([raw[head][kind].flatten() for head in sorted(raw) for kind in ("boxes", "scores")])

    errors = {}
    for init in ("mse", "outputs", "gptq"):
        changed = attrs.evolve(spec, quantization=attrs.evolve(spec.quantization, init=init))
        prepared = prepare(changed, folder=tmp_path / init, threads=1)
        images = torch.cat(list(prepared._calibration_images(8)))
        settle_statistics(prepared.model, images)  # signals of random weights die out without
        expected = outputs(prepared.model)
        prepared.quantize(prepared.model)
        prepared.guard(prepared.model)
        errors[init] = ((outputs(prepared.model) - expected).square().mean() / expected.var()).item()
    assert errors["gptq"] < 0.8 * min(errors["mse"], errors["outputs"])
    assert errors["gptq"] > 1e-3  # more than the rounding of fp32


def test_the_same_call_sets_the_same_numbers_and_leaves_random_numbers_alone(make_spec, tmp_path):
    spec = make_spec(quantization={"bits": 4, "init": "gptq", "learned": True})
    found = []
    for name in ("one", "two"):
        prepared = prepare(spec, folder=tmp_path / name, threads=1)
        torch.manual_seed(3)
        prepared.quantize(prepared.model)
        assert torch.initial_seed() == 3
        assert torch.equal(torch.rand(4), torch.rand(4, generator=torch.Generator().manual_seed(3)))
        found.append(
            [
                (layer_codes(conv, quantizer), layer_scale(quantizer))
                for _, conv, quantizer in active_quantizers(prepared.model)
            ]
        )
    for one, two in zip(*found, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


def test_a_run_trains_from_there_and_its_reference_is_what_it_starts_from(make_spec, train, tmp_path):
    spec = make_spec(quantization={"bits": 4, "init": "gptq"})
    run, _ = train(spec)
    assert run.quantization.scale.init == "gptq"
    prepared = prepare(spec, folder=tmp_path / "again", threads=1)
    measured = measure_references(prepared)
    assert measured.ptq is not None
    assert run.references.ptq.weights_sha256 == measured.ptq.weights_sha256
    plain = attrs.evolve(spec, quantization=attrs.evolve(spec.quantization, init="mse"))
    other = measure_references(prepare(plain, folder=tmp_path / "plain", threads=1))
    assert other.ptq.weights_sha256 != measured.ptq.weights_sha256


def test_a_run_that_was_cut_off_ends_with_the_same_numbers(make_spec, train, train_cut_off):
    spec = make_spec(quantization={"bits": 4, "init": "gptq", "learned": True})
    _, whole = train(spec, "whole")
    _, resumed = train_cut_off(spec)
    found, expected = (
        [(r.raw.weights_sha256, r.ema.weights_sha256, r.loss) for r in read_metrics(folder)]
        for folder in (resumed, whole)
    )
    assert found == expected


def test_a_scan_of_single_layers_refuses_what_looks_at_all_of_them(make_spec, tmp_path):
    with pytest.raises(SpecError, match=r"init = 'gptq': a layer is quantized alone here; set max or mse"):
        scan(make_spec(quantization={"init": "gptq"}), tmp_path / "out", bits_high=8, budget=None, threads=1)


def test_a_peer_has_no_counterpart_of_it(make_spec, tmp_path):
    spec = make_spec(quantization={"init": "gptq", "quantizer": "torch-ao"})
    with pytest.raises(SpecError, match=r"quantization\.init = gptq: the quantizer 'torch-ao' takes max"):
        prepare(spec, folder=tmp_path, threads=1)
