"""Iterative freezing against a loop over weights."""

import io

import pytest
import torch

from qat_train.interventions.freezing import Freezing
from qat_train.oscillation import Tracker

from .reference import Disturbance, FreezingReference, TrackerReference, amax_of, snapshot, two_convolutions

MOMENTUM = 0.07
STEPS = 60
FINAL = 0.05


def weights_of(model):
    return {name: model.get_submodule(name).weight.detach().clone() for name in "01"}


def assert_same(found, expected):
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


class Run:
    """A training loop of random steps, by the package and by the reference, compared after every step."""

    def __init__(self, model, *, strength=FINAL, seed=1, weights=0.25, scales=0.05, momentum=MOMENTUM, steps=STEPS):
        self.model, self.steps = model, steps
        self.disturbance = Disturbance(model, seed=seed, weights=weights, scales=scales)
        self.tracker = Tracker(model, momentum=momentum)
        self.freezing = Freezing(model, self.tracker, strength)
        self.tracked = TrackerReference(model, momentum=momentum)
        self.reference = FreezingReference(self.tracked, strength)
        self.counts = []

    def step(self, i):
        self.disturbance.step()
        expected = self.reference.constrained(self.model)
        self.freezing.constrain()
        assert_same(weights_of(self.model), expected)
        self.tracker.update()
        self.tracked.update(self.model)
        progress = (i + 1) / self.steps
        self.freezing.after_step(progress)
        self.reference.after_step(progress)
        self.counts.append(self.reference.count())

    def finish(self):
        for i in range(len(self.counts), self.steps):
            self.step(i)
        assert self.reference.narrowest > 2e-7, "a decision that hangs on the precision: choose another seed"
        return self


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("scales", [0.05, 0], ids=["scales learn", "scales stand"])
@pytest.mark.parametrize("strength", [FINAL, 0.2], ids=["falling", "rising"])
def test_every_weight_after_every_step_equals_the_loop(granularity, scales, strength):
    run = Run(two_convolutions(granularity), scales=scales, strength=strength).finish()
    before_the_start = STEPS // 4 - 1
    assert run.counts[before_the_start - 1] == 0
    assert len(set(run.counts)) > 3  # they freeze one after another
    assert run.counts[-1] > 0
    record = run.tracker.record().total
    expected = run.tracked.record()[None]
    assert (record.switches, record.by_weight, record.by_scale) == (
        expected["switches"],
        expected["by_weight"],
        expected["by_scale"],
    )
    assert record.frequency == pytest.approx(expected["frequency"], rel=1e-5)


def test_nothing_freezes_in_the_first_quarter():
    model = two_convolutions()
    run = Run(model, momentum=0.3)  # frequencies far above any threshold
    for i in range(14):
        run.step(i)
    moved = weights_of(model)
    run.freezing.constrain()
    assert_same(weights_of(model), moved)
    assert run.counts[-1] == 0
    run.finish()
    assert run.counts[14] > 20  # 15/60: the threshold is on


def test_frozen_codes_stay_whatever_weights_and_scales_do():
    model = two_convolutions()
    run = Run(model).finish()
    frozen = {name: [q for q in codes if q is not None] for name, codes in run.reference.frozen.items()}
    assert sum(map(len, frozen.values())) > 10
    with torch.no_grad():
        for name in "01":
            model.get_submodule(name).weight.normal_()
            amax_of(model, name).mul_(1.7)
    expected = run.reference.constrained(model)
    run.freezing.constrain()
    assert_same(weights_of(model), expected)
    run.tracker.update()
    run.tracked.update(model)
    for name, weights in run.tracked.layers.items():
        codes = [weight.code for weight, q in zip(weights, run.reference.frozen[name], strict=True) if q is not None]
        assert codes == frozen[name]


def test_a_weight_that_froze_in_this_step_is_on_its_code_when_the_step_is_over():
    """An evaluation or a checkpoint after the step must see it there."""
    run = Run(two_convolutions())
    for i in range(STEPS):
        run.step(i)
        assert_same(weights_of(run.model), run.reference.constrained(run.model))


def test_a_calm_weight_is_not_touched():
    model = two_convolutions()
    run = Run(model).finish()
    with torch.no_grad():
        for name in "01":
            model.get_submodule(name).weight.add_(0.001)
    before = weights_of(model)
    run.freezing.constrain()
    free = 0
    for name, codes in run.reference.frozen.items():
        loose = torch.tensor([q is None for q in codes]).reshape(before[name].shape)
        assert torch.equal(model.get_submodule(name).weight.detach()[loose], before[name][loose])
        free += int(loose.sum())
    assert free > 0


def test_the_code_is_the_rounded_average_not_the_last_one():
    """One weight rests at 3 until half of training, then turns every step: it passes the threshold at 2."""
    model = two_convolutions("per-tensor", learned=False)
    with torch.no_grad():
        amax_of(model, "0").fill_(7.0)
        model.get_submodule("0").weight.zero_()
    weight = model.get_submodule("0").weight.view(-1)
    tracker = Tracker(model, momentum=0.03)
    tracked = TrackerReference(model, momentum=0.03)
    freezing, reference = Freezing(model, tracker, 0.012), FreezingReference(tracked, 0.012)
    codes = []
    for i in range(400):
        with torch.no_grad():
            weight[0] = 2.0 if i >= 200 and i % 2 == 0 else 3.0
        freezing.constrain()
        tracker.update()
        tracked.update(model)
        freezing.after_step((i + 1) / 400)
        reference.after_step((i + 1) / 400)
        codes.append(tracked.layers["0"][0].code)
        if reference.frozen["0"][0] is not None:
            break
    assert codes[-1] == 2
    assert reference.frozen["0"][0] == 3
    assert reference.narrowest > 2e-7
    with torch.no_grad():
        weight[0] = -5.0
    freezing.constrain()
    assert weight[0].item() == 3.0
    assert not weight[1:].any()


def test_layers_wider_than_the_tracker_looks_at_never_freeze():
    model = two_convolutions(bits=(4, 8))
    run = Run(model).finish()
    assert run.counts[-1] > 0
    assert set(run.reference.frozen) == {"0"}


@pytest.mark.parametrize("stop", [5, 15, 16, 30])
def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(stop):
    run = Run(two_convolutions())
    for i in range(stop):
        run.step(i)
    file = io.BytesIO()
    torch.save({"tracker": run.tracker.state(), "freezing": run.freezing.state()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)

    model = two_convolutions(seed=1)
    tracker = Tracker(model, momentum=MOMENTUM)
    freezing = Freezing(model, tracker, FINAL)
    model.load_state_dict(run.model.state_dict())
    tracker.load_state(state["tracker"])
    freezing.load_state(state["freezing"])
    run.model, run.disturbance.model, run.tracker, run.freezing = model, model, tracker, freezing
    run.finish()
    assert run.counts[-1] > run.counts[stop - 1]


def test_freezing_is_no_part_of_the_gradient():
    run = Run(two_convolutions()).finish()
    for parameter in run.model.parameters():
        assert parameter.requires_grad
        assert parameter.grad_fn is None
    run.model(torch.ones(1, 3, 6, 6)).sum().backward()
    assert run.model.get_submodule("0").weight.grad is not None
    assert all(layer.bits == 4 for layer in snapshot(run.model).values())
