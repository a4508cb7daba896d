"""The drift of scales and running variances against loops over channels, and in whole runs."""

import copy
import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qat_train.drift import DriftMeter
from qat_train.insertion import active_quantizers
from qat_train.metrics import read_metrics

from .reference import Disturbance, amax_of, two_convolutions


def relative_change(now, then):
    """Of one layer, channel by channel."""
    total = sum(abs(a - b) for a, b in zip(now, then, strict=True))
    return total / sum(then)


def amaxes(model):
    return {name: [float(v) for v in amax_of(model, name).flatten()] for name in "01"}


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_scales_are_held_against_the_start_and_the_epoch_before(granularity):
    model = two_convolutions(granularity)
    disturbance, meter = Disturbance(model, seed=1, scales=0.2), DriftMeter(model)
    start = before = amaxes(model)
    for _ in range(3):
        disturbance.step()
        now = amaxes(model)
        found = meter.record()
        for spread, then in ((found.scale_since_start, start), (found.scale_since_before, before)):
            wanted = [relative_change(now[name], then[name]) for name in "01"]
            assert spread.median == pytest.approx(statistics.median(wanted), rel=1e-5)
            assert spread.max == pytest.approx(max(wanted), rel=1e-5)
        meter.mark()
        before = now


def test_scales_that_nothing_moves_have_no_drift():
    model = two_convolutions(learned=False)
    meter = DriftMeter(model)
    Disturbance(model, seed=1, scales=0).step()
    found = meter.record()
    assert (found.scale_since_before, found.scale_since_start, found.bn_variance) == (None, None, None)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 1e3)), min_size=4, max_size=4))
def test_factor_of_variances_is_the_geometric_mean_over_channels(pairs):
    model = nn.Sequential(nn.BatchNorm2d(2, eps=1e-3), nn.BatchNorm2d(2, eps=1e-2))
    norms = list(model)
    for norm, two in zip(norms, (pairs[:2], pairs[2:]), strict=True):
        norm.running_var.copy_(torch.tensor([then for then, _ in two]))
    meter = DriftMeter(model)
    wanted = []
    for norm, two in zip(norms, (pairs[:2], pairs[2:]), strict=True):
        norm.running_var.copy_(torch.tensor([now for _, now in two]))
        factors = [max((now + norm.eps) / (then + norm.eps), (then + norm.eps) / (now + norm.eps)) for then, now in two]
        wanted.append(math.prod(factors) ** 0.5)
    found = meter.record().bn_variance
    assert found.max == pytest.approx(max(wanted), rel=1e-4)
    assert found.median == pytest.approx(statistics.median(wanted), rel=1e-4)
    assert found.median >= 1.0 - 1e-6


def test_doubled_and_halved_variances_drift_alike():
    model = nn.Sequential(nn.BatchNorm2d(3, eps=0.0))
    meter = DriftMeter(model)
    model[0].running_var.copy_(torch.tensor([2.0, 0.5, 2.0]))
    assert meter.record().bn_variance.max == pytest.approx(2.0)


def test_what_is_not_finite_has_no_number():
    model = nn.Sequential(nn.BatchNorm2d(2))
    meter = DriftMeter(model)
    model[0].running_var[0] = float("nan")
    assert meter.record().bn_variance is None


def test_run_that_is_cut_off_drifts_on_to_the_same_numbers(make_spec, train, train_cut_off):
    spec = make_spec(training={"epochs": 3}, quantization={"learned": True, "scale_lr": 1e-3})
    _, whole = train(spec, "whole")
    _, resumed = train_cut_off(spec)
    drifts = [record.drift for record in read_metrics(whole)]
    assert [record.drift for record in read_metrics(resumed)] == drifts
    assert all(d.scale_since_start.max > 0 and d.bn_variance.max > 1 for d in drifts)
    assert drifts[0].scale_since_start == drifts[0].scale_since_before
    assert drifts[2].scale_since_start.median > drifts[2].scale_since_before.median


def test_a_meter_on_another_start_measures_from_the_one_that_it_is_given():
    """A run that goes on elsewhere may be calibrated otherwise there."""
    model = two_convolutions(learned=False)
    model.append(nn.BatchNorm2d(2))
    meter = DriftMeter(model)
    elsewhere = copy.deepcopy(model)
    with torch.no_grad():
        for module in elsewhere.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.mul_(1.5)
        for _, _, quantizer in active_quantizers(elsewhere):
            quantizer._amax.mul_(1.1)
    other = DriftMeter(elsewhere)
    elsewhere.load_state_dict(model.state_dict())
    assert other.record().scale_since_start is not None
    other.load_state(meter.state())
    other.mark()
    assert other.record() == meter.record()
    assert other.record().scale_since_start is None
