"""Batch norms that keep their statistics in training."""

import pytest
import torch
from torch import nn

from qat_train.checkpoint import load_checkpoint
from qat_train.interventions import build
from qat_train.metrics import read_metrics
from qat_train.preparation import prepare
from qat_train.trainer import QatTrainer


class Cut(Exception):
    pass


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


def test_a_share_freezes_the_end_of_the_training(make_spec, train, monkeypatch):
    seen = {}
    original = QatTrainer.validate

    def look(self):
        seen[self.epoch + 1] = statistics(self.net)
        return original(self)

    monkeypatch.setattr(QatTrainer, "validate", look)
    train(make_spec(training={"epochs": 4}, interventions={"frozen_norms": 0.5}))
    assert equal(seen[1], seen[2]) == []
    # Two steps an epoch: the step at which half is done, the fifth of eight, is the last that moves them.
    assert equal(seen[3], seen[4]) == list(seen[3])


def test_a_run_that_was_cut_off_ends_with_the_same_numbers(make_spec, train):
    def cut(record, _):
        if record.epoch == 3:
            raise Cut

    spec = make_spec(training={"epochs": 4}, interventions={"frozen_norms": 0.5})
    _, whole = train(spec, "whole")
    with pytest.raises(Cut):
        train(spec, "cut", report=cut)
    _, resumed = train(spec, "cut", resume="must")
    found, expected = (
        [(r.raw.weights_sha256, r.ema.weights_sha256, r.loss) for r in read_metrics(folder)]
        for folder in (resumed, whole)
    )
    assert found == expected


def test_a_peer_may_train_with_them(make_spec, tmp_path):
    spec = make_spec(quantization={"init": "max", "quantizer": "torch-ao"}, interventions={"frozen_norms": 1.0})
    assert prepare(spec, folder=tmp_path, threads=1).peer is not None


def test_more_than_all_of_the_training_is_refused(make_spec):
    with pytest.raises(ValueError, match=r"^interventions\.frozen_norms is a share of the training, above 0 up to 1"):
        make_spec(interventions={"frozen_norms": 1.5})
