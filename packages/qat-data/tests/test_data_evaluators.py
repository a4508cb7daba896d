"""The two evaluators: which one is taken, that they agree, and what holds for any boxes and detections."""

import importlib.metadata
import json

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qat_data import MissingPackage, RequestError, evaluate, read_annotations, read_detections
from qat_data.boxes import TruthBox
from qat_data.detections import Detection, Detections
from qat_data.matching import choose_evaluator, match
from qat_data.truth import GroundTruth

from .conftest import derived_detections, excerpt, write_json


def installed(monkeypatch, version):
    known = importlib.metadata.version

    def look_up(name):
        if name != "faster-coco-eval":
            return known(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", look_up)


@pytest.mark.parametrize(
    ("version", "wanted", "name", "notes"),
    [
        (None, "auto", "pycocotools", 0),
        ("1.8.3", "auto", "faster-coco-eval", 0),
        ("1.9.0", "auto", "pycocotools", 1),
        ("1.9.0", "faster-coco-eval", "faster-coco-eval", 1),
        ("1.8.0", "pycocotools", "pycocotools", 0),
    ],
)
def test_the_fast_evaluator_is_taken_where_a_version_that_was_compared_is_installed(
    monkeypatch, version, wanted, name, notes
):
    installed(monkeypatch, version)
    choice = choose_evaluator(wanted)
    assert (choice.name, len(choice.notes)) == (name, notes)
    assert all("only 1.8.x was compared with pycocotools" in note for note in choice.notes)


def test_an_evaluator_that_is_not_installed_or_unknown_is_refused(monkeypatch):
    installed(monkeypatch, None)
    with pytest.raises(MissingPackage, match=r"not installed: pip install 'qat-data\[fast\]'"):
        choose_evaluator("faster-coco-eval")
    with pytest.raises(RequestError, match="'coco': expected auto, pycocotools, faster-coco-eval"):
        choose_evaluator("coco")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
@pytest.mark.parametrize("name", ["coco128", "bccd"])
def test_both_evaluators_give_the_same_curves_on_real_data(both, real_data, tmp_path, name, seed):
    content = excerpt(json.loads((real_data / name / "annotations" / "instances_train2017.json").read_text()))
    truth = read_annotations(write_json(tmp_path / "truth.json", content))
    entries = derived_detections(content, seed, per_image=10)
    detections = read_detections(write_json(tmp_path / "found.json", entries), truth)
    one, other = (match(e, truth, detections) for e in both)
    np.testing.assert_allclose(one.precision, other.precision, rtol=0, atol=1e-9)
    np.testing.assert_allclose(one.recall, other.recall, rtol=0, atol=1e-9)
    for field in ("iou_thresholds", "max_detections", "areas"):
        assert getattr(one, field) == getattr(other, field)


IMAGES, CATEGORIES = (2, 7, 11), (0, 5)
side = st.sampled_from([0.0, 1e-9, 8.0, 32.0, 33.5, 96.0, 1e5]) | st.floats(0.01, 200)
place = st.sampled_from([-10.0, 0.0, 16.0, 20.25, 1e5]) | st.floats(0, 300)
box = st.tuples(place, place, side, side)
truth_box = st.builds(
    lambda b, share, **keys: TruthBox(box=b, area=b[2] * b[3] * share, **keys),
    box,
    st.sampled_from([1.0, 1.0, 0.3]),
    category_id=st.sampled_from(CATEGORIES),
    crowd=st.sampled_from([False, False, False, True]),
)
solid_box = st.builds(
    lambda x, y, w, h, category: TruthBox(box=(x, y, w, h), area=w * h, category_id=category),
    *(st.integers(0, 300), st.integers(0, 300), st.integers(1, 120), st.integers(1, 120)),
    st.sampled_from(CATEGORIES),
)


def truths(boxes):
    return st.fixed_dictionaries({i: st.lists(boxes, max_size=6).map(tuple) for i in IMAGES}).map(
        lambda images: GroundTruth(
            files=(), sha256="", dataset=None, categories={0: "a", 5: "b"}, images=images, unusable=0
        )
    )


@st.composite
def situations(draw, scores):
    """A truth with something to find, and detections: some are its boxes, some moved, some of their own."""
    truth = draw(truths(truth_box).filter(lambda t: any(not b.crowd for found in t.images.values() for b in found)))
    known = [b.box for found in truth.images.values() for b in found]
    near = st.tuples(st.sampled_from(known), st.sampled_from([0.0, 0.0, 1.0, 4.0])).map(
        lambda pair: tuple(v + pair[1] for v in pair[0])
    )
    where = st.tuples(st.sampled_from(IMAGES), st.sampled_from(CATEGORIES), near | box)
    places = draw(st.lists(where, max_size=20))
    values = draw(scores(len(places)))
    return truth, [Detection(i, c, b, s) for (i, c, b), s in zip(places, values, strict=True)]


def tied(number):
    return st.lists(st.sampled_from([0.0, 1 / 3, 0.5, 1.0]), min_size=number, max_size=number)


def distinct(number):
    return st.permutations(range(number)).map(lambda ranks: [(1 + rank) / (number + 1) for rank in ranks])


def metrics_of(truth, entries):
    return evaluate(truth, Detections(file=None, sha256="", entries=tuple(entries)), evaluator="pycocotools").metrics


@settings(deadline=None, max_examples=50)  # a machine under load is no failure
@given(data=st.data(), situation=situations(distinct))
def test_the_order_of_detections_with_distinct_scores_does_not_matter(data, situation):
    truth, entries = situation
    assert metrics_of(truth, data.draw(st.permutations(entries))) == metrics_of(truth, entries)


@settings(deadline=None, max_examples=50)  # a machine under load is no failure
@given(situation=situations(tied))
def test_without_detections_every_number_that_is_defined_is_0(situation):
    truth, _ = situation
    assert {value for value in attrs.astuple(metrics_of(truth, [])) if value is not None} == {0.0}


@settings(deadline=None, max_examples=50)  # a machine under load is no failure
@given(data=st.data(), truth=truths(solid_box).filter(lambda t: any(t.images.values())))
def test_the_boxes_themselves_are_a_perfect_answer_whatever_their_scores(data, truth):
    boxes = [(i, b) for i, found in truth.images.items() for b in found]
    entries = [Detection(i, b.category_id, b.box, data.draw(st.floats(0, 1))) for i, b in boxes]
    metrics = metrics_of(truth, entries)
    numbers = [metrics.map50_95, metrics.map50, metrics.map75, metrics.ar10, metrics.ar100]
    sizes = [metrics.map_small, metrics.map_medium, metrics.map_large]
    assert numbers + [v for v in sizes if v is not None] == pytest.approx(
        [1.0] * (5 + sum(v is not None for v in sizes))
    )


@settings(deadline=None, max_examples=50)  # a machine under load is no failure
@given(
    situation=situations(distinct),
    image=st.sampled_from(IMAGES),
    category=st.sampled_from(CATEGORIES),
    wide=st.floats(1, 200),
)
def test_a_false_positive_below_all_others_raises_nothing(situation, image, category, wide):
    truth, entries = situation
    false = Detection(image, category, (-5000.0, -5000.0, wide, wide), 0.0)
    before, after = metrics_of(truth, entries), metrics_of(truth, [*entries, false])
    for name in attrs.asdict(before):
        if getattr(before, name) is not None:
            assert getattr(after, name) <= getattr(before, name), name


@settings(deadline=None, max_examples=50)  # a machine under load is no failure
@given(situation=situations(tied))
def test_both_evaluators_agree_on_ties_crowds_and_boxes_of_every_size(both, situation):
    truth, entries = situation
    detections = Detections(file=None, sha256="", entries=tuple(entries))
    one, other = (match(e, truth, detections) for e in both)
    np.testing.assert_allclose(one.precision, other.precision, rtol=0, atol=1e-9)
    np.testing.assert_allclose(one.recall, other.recall, rtol=0, atol=1e-9)
