"""The oscillation tracker against a loop over weights."""

import io

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qat_train.oscillation import Tracker

from .reference import Disturbance, TrackerReference, amax_of, two_convolutions

STEPS = 30
COUNTED = ("weights", "switches", "by_weight", "by_scale")


def numbers(oscillation):
    """{path or None for the total: numbers} of an `Oscillation`."""
    found = {name: attrs.asdict(layer) for name, layer in oscillation.layers.items()}
    return found | {None: attrs.asdict(oscillation.total)}


def assert_agrees(found, expected):
    found = numbers(found)
    assert set(found) == set(expected)
    for name, wanted in expected.items():
        assert {key: found[name][key] for key in COUNTED} == {key: wanted[key] for key in COUNTED}
        assert list(found[name]["distance"]) == wanted["distance"]
        assert found[name]["frequency"] == pytest.approx(wanted["frequency"], rel=1e-5, abs=1e-9)
        assert found[name]["share"] == pytest.approx(wanted["share"], rel=1e-6)


def stored(state):
    """The state as a checkpoint gives it back."""
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize(
    ("weights", "scales"), [(0.5, 0.05), (0.5, 0), (0, 0.05), (2.0, 0.3)], ids=["both", "weights", "scales", "wild"]
)
@pytest.mark.parametrize("momentum", [0.01, 0.1])
def test_every_number_equals_the_loop(granularity, weights, scales, momentum):
    model = two_convolutions(granularity)
    disturbance = Disturbance(model, seed=1, weights=weights, scales=scales)
    tracker = Tracker(model, momentum=momentum, threshold=0.02)
    reference = TrackerReference(model, momentum=momentum, threshold=0.02)
    for step in range(STEPS):
        disturbance.step()
        tracker.update()
        reference.update(model)
        if step in (0, 9, STEPS - 1):
            expected = reference.record()
            assert_agrees(tracker.record(), expected)
    total = expected[None]
    assert total["frequency"] > 0
    assert (total["by_weight"] > 0) == (weights > 0)
    assert (total["by_scale"] > 0) == (scales > 0)
    assert total["share"] > 0


def test_three_bits_have_three_bits_thresholds():
    model = two_convolutions(bits=(3, 2))
    disturbance = Disturbance(model, seed=4)
    tracker, reference = Tracker(model), TrackerReference(model)
    for _ in range(10):
        disturbance.step()
        tracker.update()
        reference.update(model)
    assert_agrees(tracker.record(), reference.record())


def test_the_record_names_its_momentum_and_threshold():
    record = Tracker(two_convolutions(), momentum=0.03, threshold=0.005).record()
    assert (record.momentum, record.threshold) == (0.03, 0.005)
    record = Tracker(two_convolutions()).record()
    assert (record.momentum, record.threshold) == (0.01, 0.02)


@pytest.mark.parametrize(("most", "tracked"), [(4, {"0"}), (8, {"0", "1"})])
def test_layers_wider_than_the_width_are_not_tracked(most, tracked):
    model = two_convolutions(bits=(4, 8))
    disturbance = Disturbance(model, seed=2)
    tracker, reference = Tracker(model, bits=most), TrackerReference(model, bits=most)
    for _ in range(5):
        disturbance.step()
        tracker.update()
        reference.update(model)
    record = tracker.record()
    assert set(record.layers) == tracked
    assert_agrees(record, reference.record())


def test_weights_that_switch_in_hundreds_of_steps_are_counted_every_time():
    model = two_convolutions()
    disturbance = Disturbance(model, seed=6, weights=2.0, scales=0.3)
    tracker, reference = Tracker(model), TrackerReference(model)
    for _ in range(300):
        disturbance.step()
        tracker.update()
        reference.update(model)
    assert_agrees(tracker.record(), reference.record())


def test_scales_that_are_not_learned_are_tracked_too():
    model = two_convolutions(learned=False)
    disturbance = Disturbance(model, seed=3, scales=0)
    tracker, reference = Tracker(model), TrackerReference(model)
    for _ in range(10):
        disturbance.step()
        tracker.update()
        reference.update(model)
    record = tracker.record()
    assert_agrees(record, reference.record())
    assert record.total.by_scale == 0
    assert record.total.switches > 0


def test_a_second_record_has_no_switches_and_the_same_frequencies():
    model = two_convolutions()
    disturbance = Disturbance(model, seed=5)
    tracker = Tracker(model)
    for _ in range(10):
        disturbance.step()
        tracker.update()
    first, second = numbers(tracker.record()), numbers(tracker.record())
    assert first[None]["switches"] > 0
    for name, layer in second.items():
        assert layer["switches"] == layer["by_weight"] == layer["by_scale"] == 0
        kept = ("weights", "frequency", "share", "distance")
        assert {key: layer[key] for key in kept} == {key: first[name][key] for key in kept}


def test_an_update_without_a_step_only_lets_frequencies_decay():
    model = two_convolutions()
    disturbance = Disturbance(model, seed=6)
    tracker = Tracker(model, momentum=0.1)
    for _ in range(10):
        disturbance.step()
        tracker.update()
    before = tracker.record().total
    tracker.update()
    after = tracker.record().total
    assert after.switches == 0
    assert after.frequency == pytest.approx(0.9 * before.frequency, rel=1e-5)


def test_forward_passes_evaluations_and_gradients_are_not_steps():
    model = two_convolutions()
    disturbance = Disturbance(model, seed=7)
    tracker, reference = Tracker(model), TrackerReference(model)
    x = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    for _ in range(10):
        disturbance.step()
        model.train()
        for _ in range(2):  # accumulation
            model(x).square().mean().backward()
        tracker.update()
        model.eval()
        with torch.no_grad():
            model(x)
        reference.update(model)
    assert_agrees(tracker.record(), reference.record())


def test_tracking_changes_nothing_in_the_model():
    model = two_convolutions()
    disturbance = Disturbance(model, seed=8)
    tracker = Tracker(model)
    disturbance.step()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tracker.update()
    tracker.record()
    after = model.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("stop", [0, 1, 13, 29])
def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(stop):
    """The tracker is built anew on a model of other weights and scales, before the checkpoint's are loaded."""
    whole = two_convolutions()
    disturbance = Disturbance(whole, seed=9)
    reference, tracker = TrackerReference(whole), Tracker(whole)
    model = two_convolutions(seed=1)
    resumed = Tracker(model)
    for step in range(STEPS):
        if step == stop:
            model.load_state_dict(whole.state_dict())
            resumed.load_state(stored(tracker.state()))
        disturbance.step()
        tracker.update()
        reference.update(whole)
        if step >= stop:
            model.load_state_dict(whole.state_dict())
            resumed.update()
        if step == 6:
            for each in (tracker, resumed) if step >= stop else (tracker,):
                each.record()
            reference.record()
    record = tracker.record()
    assert_agrees(record, reference.record())
    assert numbers(resumed.record()) == numbers(record)
    assert {k: v.tolist() for k, v in resumed.state().items()} == {k: v.tolist() for k, v in tracker.state().items()}


def test_a_stored_state_does_not_move_on_with_the_tracker():
    model = two_convolutions()
    disturbance = Disturbance(model, seed=10)
    tracker = Tracker(model)
    disturbance.step()
    tracker.update()
    state = stored(tracker.state())
    before = {key: value.clone() for key, value in state.items()}
    tracker.load_state(state)
    disturbance.step()
    tracker.update()
    assert all(torch.equal(state[key], value) for key, value in before.items())


def test_the_state_is_small():
    """int8 code and direction and an fp32 frequency: six bytes a weight, and little more."""
    model = two_convolutions()
    weights = sum(model.get_submodule(name).weight.numel() for name in "01")
    large = [value for value in Tracker(model).state().values() if value.numel() >= 36]
    assert sum(value.numel() * value.element_size() for value in large) == 6 * weights


# One weight -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def single():
    """A model whose first layer's weights all have scale 1, and whose second never moves."""
    model = two_convolutions("per-tensor")
    with torch.no_grad():
        amax_of(model, "0").fill_(7.0)
    return model


def drive(model, path, tracker):
    """Move one weight of the first layer through the values of `path`; all others stand at 0."""
    with torch.no_grad():
        for value in path:
            model.get_submodule("0").weight.view(-1)[0] = value
            tracker.update()


@given(path=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=25), start=st.floats(-10, 10, width=32))
@settings(max_examples=60, deadline=None)
def test_any_path_of_one_weight_equals_the_loop(single, path, start):
    weight = single.get_submodule("0").weight
    with torch.no_grad():
        weight.zero_()
        weight.view(-1)[0] = start
    tracker, reference = Tracker(single), TrackerReference(single)
    for value in path:
        drive(single, [value], tracker)
        reference.update(single)
    expected = reference.record()
    found = numbers(tracker.record())
    for name, wanted in expected.items():
        assert {key: found[name][key] for key in COUNTED} == {key: wanted[key] for key in COUNTED}
        assert found[name]["frequency"] == pytest.approx(wanted["frequency"], rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(
    ("path", "oscillations"),
    [
        ([1, 2, 3, 4], 0),  # always up
        ([1, 0, 1, 0], 3),  # the first switch has nothing to turn back from
        ([1, 1, 1, 0], 1),  # a rest does not forget the direction
        ([5, 1, 2], 2),  # jumps of more than one code
        ([0.4, -0.4, 0.49], 0),  # the weight moves, its code does not
        ([9, 7, 12], 0),  # beyond the range there is one code
    ],
)
def test_what_is_an_oscillation(single, path, oscillations):
    with torch.no_grad():
        single.get_submodule("0").weight.zero_()
    m = 0.25
    tracker = Tracker(single, momentum=m)
    drive(single, path, tracker)
    found = tracker.record().layers["0"]
    # Recover the count from f = Σ m·(1-m)^age over the oscillations, by trying every set of steps.
    frequency = found.frequency * found.weights
    ages = [
        {a for a in range(len(path)) if chosen >> a & 1}
        for chosen in range(2 ** len(path))
        if abs(sum(m * (1 - m) ** a for a in range(len(path)) if chosen >> a & 1) - frequency) < 1e-5
    ]
    assert [len(found) for found in ages] == [oscillations]


def test_a_switch_belongs_to_the_scale_only_where_the_weight_alone_would_not_have_made_it(single):
    weight, amax = single.get_submodule("0").weight, amax_of(single, "0")
    with torch.no_grad():
        weight.zero_()
        weight.view(-1)[0] = 1.4
        tracker = Tracker(single)
        amax.fill_(7 * 0.9)  # 1.4 / 0.9 = 1.56
        tracker.update()
        by_scale = tracker.record().layers["0"]
        weight.view(-1)[0] = 2.6  # 2.6 / 0.9 = 2.89
        tracker.update()
        by_weight = tracker.record().layers["0"]
        weight.view(-1)[0] = 2.2  # 2.2 / 0.9 = 2.44 would switch; 2.2 / 0.6 = 3.67 does too, to another code
        amax.fill_(7 * 0.6)
        tracker.update()
        both = tracker.record().layers["0"]
        weight.view(-1)[0] = 2.4
        amax.fill_(7.0)  # 2.4 / 0.6 = 4: the weight alone would not have switched; 2.4 / 1 does
        tracker.update()
        again = tracker.record().layers["0"]
        amax.fill_(7.0)
    assert [(r.by_weight, r.by_scale) for r in (by_scale, by_weight, both, again)] == [(0, 1), (1, 0), (1, 0), (0, 1)]


def test_distance_of_clipped_lowest_highest_and_centred_weights_is_in_the_last_bin(single):
    weight = single.get_submodule("0").weight
    values = [0.52, 0.48, 0.57, -7.52, 6.48, 100.0, -100.0, 7.3, -8.4, 0.01]  # by distance: 3 near, 1 next, others far
    with torch.no_grad():
        weight.zero_()
        weight.view(-1)[: len(values)] = torch.tensor(values)
    distance = list(Tracker(single).record().layers["0"].distance)
    assert distance == [4, 1, 0, 0, 0, 0, 0, 0, 0, weight.numel() - 5]
