"""Files of detections: what is taken, and what is refused with file, place and reason."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qat_data import CocoLayout, DataError, Request, prepare, read_annotations, read_coco, read_detections, read_truth
from qat_data.detections import MAX_BYTES

from .conftest import annotations

GOOD = {"image_id": 5, "category_id": 7, "bbox": [4, 5.5, 10.0, 8.0], "score": 0.5}


@pytest.fixture
def truth(coco, tmp_path):
    prepare(read_coco(CocoLayout(root=coco.path)), tmp_path / "data", Request())
    return read_truth(tmp_path / "data")


@pytest.fixture
def read(truth, tmp_path):
    def from_text(text):
        file = tmp_path / "found.json"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_detections(file, truth)

    return from_text


def test_entries_are_kept_in_their_order_and_other_keys_passed_over(read):
    second = GOOD | {"image_id": 301, "category_id": 90, "score": 1, "area": 80.0, "segmentation": []}
    (first, last) = read(json.dumps([GOOD, second])).entries
    assert (first.image_id, first.category_id, first.bbox, first.score) == (5, 7, (4.0, 5.5, 10.0, 8.0), 0.5)
    assert (last.image_id, last.category_id, last.score) == (301, 90, 1.0)


def test_no_detection_at_all_is_an_answer_too(read):
    assert read("[]").entries == ()


@pytest.mark.parametrize("bbox", [[0, 0, 0, 5], [-3.5, 2, 4, 0], [-10, -10, 500, 500], [1e5, 0, 1e-9, 1]])
def test_boxes_that_are_odd_and_still_boxes_are_taken(read, bbox):
    assert read(json.dumps([GOOD | {"bbox": bbox}])).entries[0].bbox == tuple(bbox)


def test_a_byte_order_mark_is_passed_over(read):
    assert len(read(b"\xef\xbb\xbf" + json.dumps([GOOD]).encode()).entries) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_id": 6}, "image_id 6 is not among the images of the annotations"),
        ({"image_id": 3}, "image_id 3 is not among the images"),  # of train
        ({"image_id": "5"}, "Expected `int`, got `str` - at `$.image_id`"),
        ({"image_id": 5.5}, "Expected `int`, got `float` - at `$.image_id`"),
        ({"category_id": 8}, "category_id 8 is not among the categories of the annotations"),
        ({"category_id": True}, "Expected `int`, got `bool` - at `$.category_id`"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox [1.0, 2.0, nan, 4.0] is not finite"),
        ({"bbox": [float("-inf"), 2, 3, 4]}, "bbox [-inf, 2.0, 3.0, 4.0] is not finite"),
        ({"bbox": [1, 2, -3, 4]}, "bbox [1.0, 2.0, -3.0, 4.0] has a negative size"),
        ({"bbox": [1, 2, 3, -1e-9]}, "bbox [1.0, 2.0, 3.0, -1e-09] has a negative size"),
        ({"bbox": [1, 2, 1e10, 4]}, "bbox [1.0, 2.0, 10000000000.0, 4.0] reaches beyond 1e+05 pixels"),
        ({"bbox": [1, 2, 1e-200, 1e-200]}, "bbox [1.0, 2.0, 1e-200, 1e-200] has an area that underflows"),
        ({"image_id": "\ud800"}, "'utf-8' codec can't encode character"),
        ({"bbox": [1, 2, 3, 10**400]}, "Number out of range - at `$.bbox[3]`"),
        ({"bbox": [1, 2, 3]}, "Expected `array` of length 4, got 3 - at `$.bbox`"),
        ({"bbox": "1 2 3 4"}, "Expected `array`, got `str` - at `$.bbox`"),
        ({"bbox": [1, 2, 3, None]}, "Expected `float`, got `null` - at `$.bbox[3]`"),
        ({"score": float("nan")}, "score nan is not within 0 and 1"),
        ({"score": 1.0001}, "score 1.0001 is not within 0 and 1"),
        ({"score": -0.1}, "score -0.1 is not within 0 and 1"),
        ({"score": "0.5"}, "Expected `float`, got `str` - at `$.score`"),
        ({"score": ...}, "Object missing required field `score`"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place_and_the_reason(read, tmp_path, change, reason):
    wrong = {key: value for key, value in (GOOD | change).items() if value is not ...}
    with pytest.raises(DataError, match="1 of 3 entries, counted from 0, cannot be evaluated") as refused:
        read(json.dumps([GOOD, wrong, GOOD]))
    text = str(refused.value)
    assert text.startswith(f"{tmp_path / 'found.json'}: ")
    assert f"entry 1: {reason}" in text


def test_all_faults_are_counted_whatever_their_kind_and_the_first_ten_shown(read):
    kinds = [
        GOOD | {"score": 2},
        GOOD | {"score": "2"},
        3,
        None,
        GOOD | {"image_id": 1},
        GOOD | {"bbox": [1, 2, 3, -4]},
    ]
    with pytest.raises(DataError, match="24 of 30 entries") as refused:
        read(json.dumps([*kinds, GOOD] * 4 + [GOOD] * 2))
    lines = str(refused.value).splitlines()
    assert [line.strip().partition(":")[0] for line in lines[1:-1]] == [
        f"entry {n}" for n in (0, 1, 2, 3, 4, 5, 7, 8, 9, 10)
    ]
    assert lines[-1].strip() == "and 14 more"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "a list is needed, of {image_id, category_id, bbox: .*}; found an object"),
        ('{"annotations": []}', "found an object"),
        ("null", "found null"),
        ("0.5", "found a number"),
        ('"[]"', "found a text"),
        ("true", "found true or false"),
        ("", "no JSON in UTF-8"),
        ("[", "no JSON in UTF-8"),
        (b"[\xff]", "no JSON in UTF-8"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_list_is_refused(read, text, reason):
    with pytest.raises(DataError, match=rf"found\.json: .*{reason}"):
        read(text)


def test_a_missing_file_and_one_of_absurd_size_are_refused_unread(truth, tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.json: No such file"):
        read_detections(tmp_path / "nowhere.json", truth)
    file = tmp_path / "huge.json"
    with file.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)  # sparse: takes no space
    with pytest.raises(DataError, match=rf"{MAX_BYTES + 1} bytes, more than the {MAX_BYTES} that are read"):
        read_detections(file, truth)


@pytest.fixture(scope="module")
def small_truth(tmp_path_factory):
    file = tmp_path_factory.mktemp("truth") / "annotations.json"
    file.write_text(json.dumps(annotations([5, 9])))
    return read_annotations(file)


scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
value = st.recursive(scalar, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=3), v, max_size=3))
entry = st.fixed_dictionaries(
    {
        "image_id": st.sampled_from([5, 9, 6]) | value,
        "category_id": st.sampled_from([7, 90, 8]) | value,
        "bbox": st.lists(st.floats() | st.integers(), min_size=3, max_size=5) | value,
        "score": st.floats() | value,
    }
)


def read_or_refuse(file, truth):
    """Entries, or the text of the refusal."""
    try:
        return read_detections(file, truth).entries, None
    except DataError as error:
        return None, str(error)


@settings(deadline=None)  # a machine under load is no failure
@given(content=st.lists(entry | value, max_size=4) | value)
def test_every_json_is_either_read_or_refused_with_its_name(small_truth, tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps(content))
    entries, refusal = read_or_refuse(file, small_truth)
    if refusal:
        assert refusal.startswith(f"{file}: ")
        counted = re.search(r"(\d+) of (\d+) entries", refusal)
        assert counted is None or 1 <= int(counted[1]) <= int(counted[2]) == len(content)
    else:
        assert len(entries) == len(content)
        assert all(0 <= d.score <= 1 and d.bbox[2] >= 0 and d.bbox[3] >= 0 for d in entries)
        assert {d.image_id for d in entries} <= {5, 9}


@settings(deadline=None)
@given(data=st.binary(max_size=40))
def test_all_bytes_are_either_read_or_refused_with_their_name(small_truth, tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "bytes.json"
    file.write_bytes(data)
    entries, refusal = read_or_refuse(file, small_truth)
    assert entries == () or refusal.startswith(f"{file}: ")
