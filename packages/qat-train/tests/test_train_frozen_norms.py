"""Batch norms that keep their statistics in training."""

import pytest
import torch
from torch import nn

from qat_train.checkpoint import load_checkpoint
from qat_train.interventions import build
from qat_train.metrics import read_metrics
from qat_train.preparation import prepare


def statistics(model):
    return {k: v.clone() for k, v in model.state_dict().items() if k.endswith(("running_mean", "running_var"))}


def equal(one, two):
    return [k for k in one if torch.equal(one[k], two[k])]


def start(spec, folder):
    prepared = prepare(spec, folder=folder, threads=1)
    prepared.quantize(prepared.model)
    return prepared.model


def test_frozen_ones_compute_in_training_what_they_compute_in_evaluation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model[1].running_mean.normal_()
    build({"frozen_norms": 1.0}, model=model, tracker=None, teacher=None)
    images = torch.randn(2, 3, 5, 5)
    before = statistics(model)
    trained = model.train()(images)
    trained.square().mean().backward()
    assert torch.equal(trained, model.eval()(images))
    assert equal(before, statistics(model)) == list(before)
    assert float(model[1].weight.grad.abs().min()) > 0  # scale and offset go on training


def test_a_run_keeps_every_statistic_of_its_start_and_moves_scales_and_offsets(make_spec, train, tmp_path):
    spec = make_spec(interventions={"frozen_norms": 1.0})
    before = start(spec, tmp_path / "start")
    _, folder = train(spec)
    for series in ("raw", "ema"):
        model, _ = load_checkpoint(folder / "checkpoint/checkpoint.json", series)
        assert equal(statistics(before), statistics(model)) == list(statistics(before))
    moved = [
        not torch.equal(model.get_submodule(name).weight, module.weight)
        for name, module in before.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert sum(moved) > 0.9 * len(moved)
    assert all(record.drift.bn_variance.max == 1 for record in read_metrics(folder))


def test_a_run_that_was_cut_off_ends_with_the_same_numbers(make_spec, train, train_cut_off):
    spec = make_spec(interventions={"frozen_norms": 1.0})
    _, whole = train(spec, "whole")
    _, resumed = train_cut_off(spec)
    found, expected = (
        [(r.raw.weights_sha256, r.ema.weights_sha256, r.loss) for r in read_metrics(folder)]
        for folder in (resumed, whole)
    )
    assert found == expected


def test_a_peer_may_train_with_them(make_spec, tmp_path):
    spec = make_spec(quantization={"init": "max", "quantizer": "torch-ao"}, interventions={"frozen_norms": 1.0})
    assert prepare(spec, folder=tmp_path, threads=1).peer is not None


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_a_part_of_the_training_is_refused(make_spec, strength):
    text = rf"^interventions\.frozen_norms must be 1, the whole training, found {strength:g}$"
    with pytest.raises(ValueError, match=text):
        make_spec(interventions={"frozen_norms": strength})
