"""Which objects of two models are the same."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qat_train.export.matching import FoundObject, found_objects, pair_objects


def found(name, score, *box):
    return FoundObject(name=name, score=score, box=tuple(map(float, box)))


def places(pairing):
    return [(m.fp32, m.int4) for m in pairing.matched], pairing.only_fp32, pairing.only_int4


def test_objects_of_one_class_that_overlap_by_half_or_more_are_one():
    here = found("cat", 0.9, 0, 0, 30, 10)
    pairing = pair_objects([here], [found("cat", 0.4, 10, 0, 40, 10)])  # 20 of 40 columns are shared
    assert places(pairing) == ([(0, 0)], (), ())
    assert pairing.matched[0].iou == 0.5
    assert places(pair_objects([here], [found("cat", 0.4, 10.1, 0, 40.1, 10)])) == ([], (0,), (0,))
    assert places(pair_objects([here], [found("dog", 0.9, 0, 0, 30, 10)])) == ([], (0,), (0,))


def test_the_closest_boxes_pair_whatever_their_scores():
    fp32 = [found("cat", 0.9, 0, 0, 10, 10), found("cat", 0.8, 2, 0, 12, 10)]
    int4 = [found("cat", 0.9, 2, 0, 12, 10)]
    assert places(pair_objects(fp32, int4)) == ([(1, 0)], (0,), ())


def test_of_pairs_that_overlap_alike_the_best_scores_come_first():
    twins = [found("cat", 0.9, 0, 0, 10, 10), found("cat", 0.8, 0, 0, 10, 10)]
    assert places(pair_objects(twins, twins)) == ([(0, 0), (1, 1)], (), ())
    assert places(pair_objects(twins, twins[:1])) == ([(0, 0)], (1,), ())


def test_nothing_pairs_with_nothing():
    one = found("cat", 0.9, 0, 0, 10, 10)
    assert places(pair_objects([], [])) == ([], (), ())
    assert places(pair_objects([one], [])) == ([], (0,), ())
    assert places(pair_objects([], [one])) == ([], (), (0,))


boxes = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 12)] * 2)
objects = st.lists(
    st.builds(
        lambda name, score, box: found(name, score, box[0], box[1], box[0] + box[2], box[1] + box[3]),
        st.sampled_from(["cat", "dog"]),
        st.floats(0, 1),
        boxes,
    ),
    max_size=8,
)


@given(objects, objects)
def test_every_object_is_paired_once_or_alone_and_no_pair_is_left_that_could_be_made(fp32, int4):
    pairing = pair_objects(fp32, int4)
    assert sorted([m.fp32 for m in pairing.matched] + list(pairing.only_fp32)) == list(range(len(fp32)))
    assert sorted([m.int4 for m in pairing.matched] + list(pairing.only_int4)) == list(range(len(int4)))
    for match in pairing.matched:
        assert fp32[match.fp32].name == int4[match.int4].name
        assert 0.5 <= match.iou <= 1
    left = pair_objects([fp32[i] for i in pairing.only_fp32], [int4[i] for i in pairing.only_int4])
    assert left.matched == ()


@given(objects)
def test_a_model_pairs_with_itself(same):
    assert pair_objects(same, same).only_fp32 == ()


def test_rows_of_a_selection_are_objects_with_the_names_of_their_classes():
    rows = torch.tensor([[1.0, 2.0, 3.0, 4.5, 0.75, 1.0], [0.0, 0.0, 8.0, 8.0, 0.5, 0.0]])
    assert found_objects(rows, ["cat", "dog"]) == (
        found("dog", 0.75, 1, 2, 3, 4.5),
        found("cat", 0.5, 0, 0, 8, 8),
    )
    with pytest.raises(IndexError):
        found_objects(rows, ["cat"])
