"""Reading and writing: header first, nothing coerced, what was written reads back the same."""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import attrs
import pytest
from cattrs import override
from hypothesis import given
from hypothesis import strategies as st

import qat_artifacts
from qat_artifacts import InvalidArtifact, NotAnArtifact, Ref, UnsupportedVersion, _codec

GOLDEN = Path(__file__).parent / "golden" / "probe-1.0.json"


@attrs.frozen(kw_only=True)
class Point:
    epoch: int = attrs.field(validator=attrs.validators.ge(0))
    value: float | None


@attrs.frozen(kw_only=True)
class Probe:
    SCHEMA: ClassVar[str] = "example/probe"
    VERSION: ClassVar[str] = "1.0"

    name: str
    done: bool
    kind: Annotated[Literal["short", "long"], override(rename="class")] = "short"
    history: tuple[Point, ...] = ()
    extra: dict[str, str | int | float | bool] = attrs.field(factory=dict)
    limit: int | None = None


@attrs.frozen(kw_only=True)
class NameOnly:
    """A narrow view of somebody else's artifact."""

    SCHEMA: ClassVar[str] = "example/probe"
    VERSION: ClassVar[str] = "1.0"

    name: str


@attrs.frozen(kw_only=True)
class Loose:
    SCHEMA: ClassVar[str] = "example/loose"
    VERSION: ClassVar[str] = "1.0"

    anything: Any


EXAMPLE = Probe(
    name="größe",
    done=True,
    kind="long",
    history=(Point(epoch=1, value=0.25), Point(epoch=2, value=None)),
    extra={"lr0": 2e-4, "batch": 16, "amp": False, "optimizer": "AdamW"},
)


def saved(tmp_path, **changes):
    """The golden file with some keys replaced, or dropped where the value is `...`."""
    raw = json.loads(GOLDEN.read_text(encoding="utf-8")) | changes
    path = tmp_path / "probe.json"
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}), encoding="utf-8")
    return path


def refusal(kind, path, cls=Probe, read=qat_artifacts.read):
    with pytest.raises(kind) as caught:
        read(path, cls)
    return str(caught.value).replace(str(path), "FILE")


def test_golden_file_of_version_1_0_reads_back_as_the_record_it_was_written_from():
    assert qat_artifacts.read(GOLDEN, Probe) == EXAMPLE


def test_writing_gives_the_golden_bytes(tmp_path):
    (tmp_path / "data.txt").write_text("input\n", encoding="utf-8")
    qat_artifacts.write(
        tmp_path / "out" / "probe.json", EXAMPLE, created_by="example 1.0", inputs=[tmp_path / "data.txt"]
    )
    assert (tmp_path / "out" / "probe.json").read_bytes() == GOLDEN.read_bytes()


def test_header_is_read_without_knowing_the_schema():
    header = qat_artifacts.read_header(GOLDEN)
    assert (header.schema, header.version, header.created_by) == ("example/probe", "1.0", "example 1.0")
    assert [ref.path for ref in header.inputs] == ["../data.txt"]


def test_other_major_is_refused_before_the_body_is_looked_at(tmp_path):
    path = saved(tmp_path, version="2.0", name=["not", "a", "name"], done=...)
    assert refusal(UnsupportedVersion, path) == (
        "FILE: example/probe 2.0 written by example 1.0, this program reads 1.x; a newer release of it is needed"
    )


def test_newer_minor_may_carry_unknown_keys(tmp_path):
    assert qat_artifacts.read(saved(tmp_path, version="1.1", mood="new"), Probe) == EXAMPLE


def test_unknown_key_of_a_known_version_is_refused_with_the_nearest_name(tmp_path):
    assert refusal(InvalidArtifact, saved(tmp_path, clas="long")) == (
        "FILE: top level: unknown field 'clas' (did you mean 'class'?), "
        "allowed: name, done, class, history, extra, limit"
    )


def test_view_reads_its_own_fields_and_ignores_the_others(tmp_path):
    assert qat_artifacts.read_view(saved(tmp_path, mood="new"), NameOnly) == NameOnly(name="größe")


def test_view_refuses_a_missing_field(tmp_path):
    text = refusal(InvalidArtifact, saved(tmp_path, name=...), NameOnly, qat_artifacts.read_view)
    assert text == "FILE: name: required field 'name' is missing"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"limit": 0.9}, "limit: expected int, found float 0.9"),
        ({"limit": 1.0}, "limit: expected int, found float 1.0"),
        ({"limit": True}, "limit: expected int, found bool True"),
        ({"limit": "7"}, "limit: expected int, found str '7'"),
        ({"done": "false"}, "done: expected bool, found str 'false'"),
        ({"done": 1}, "done: expected bool, found int 1"),
        ({"name": 3}, "name: expected str, found int 3"),
        ({"name": None}, "name: expected str, found NoneType None"),
        ({"history": "abc"}, "history: expected a list, found str 'abc'"),
        ({"history": {"epoch": 1}}, "history: expected a list, found dict {'epoch': 1}"),
        ({"history": [[1, 0.5]]}, "history[0]: expected an object, found list [1, 0.5]"),
        ({"history": [{"epoch": 1}]}, "history[0].value: required field 'value' is missing"),
        ({"history": [{"epoch": 1, "value": "0.5"}]}, "history[0].value: expected a finite number, found str '0.5'"),
        ({"history": [{"epoch": 1, "value": True}]}, "history[0].value: expected a finite number, found bool True"),
        ({"history": [{"epoch": -1, "value": None}]}, "history[0]: 'epoch' must be >= 0: -1"),
        ({"extra": []}, "extra: expected an object, found list []"),
        ({"class": "medium"}, "kind: medium not in literal typing.Literal['short', 'long']"),
    ],
)
def test_nothing_is_coerced_and_the_field_is_named(tmp_path, changes, expected):
    assert refusal(InvalidArtifact, saved(tmp_path, **changes)) == f"FILE: {expected}"


def test_whole_numbers_are_numbers(tmp_path):
    path = saved(tmp_path, history=[{"epoch": 1, "value": 1}])
    (point,) = qat_artifacts.read(path, Probe).history
    assert (type(point.value), point.value) == (float, 1.0)


def test_every_fault_is_reported_at_once(tmp_path):
    path = saved(tmp_path, done=0, history=[{"epoch": 1.5, "value": None}], mood=1)
    assert refusal(InvalidArtifact, path) == (
        "FILE: done: expected bool, found int 0; history[0].epoch: expected int, found float 1.5; "
        "top level: unknown field 'mood', allowed: name, done, class, history, extra, limit"
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"schema": "example/other"}, "schema 'example/probe' is expected, found 'example/other'"),
        ({"schema": ...}, "schema 'example/probe' is expected, found None"),
        ({"version": "1"}, "version '1' is not of the form 'major.minor'"),
        ({"version": 1.0}, "version: expected str, found float 1.0"),
        ({"version": ...}, "version 'None' is not of the form 'major.minor'"),
    ],
)
def test_wrong_header_is_refused(tmp_path, changes, expected):
    with pytest.raises(qat_artifacts.ArtifactError) as caught:
        qat_artifacts.read(saved(tmp_path, **changes), Probe)
    assert str(caught.value) == f"{tmp_path / 'probe.json'}: {expected}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'{"schema": "example/pro', "not valid JSON: Unterminated string starting at: line 1 column 12 (char 11)"),
        (b'{"a": NaN}', "not valid JSON: NaN is not allowed"),
        (b'{"a": -Infinity}', "not valid JSON: -Infinity is not allowed"),
        (b'{"a": 1e999}', "not valid JSON: 1e999 is not allowed"),
        (
            b'{"a": ["\\ud800"]}',
            "not valid JSON: 'utf-8' codec can't encode character '\\ud800' in position 8: surrogates not allowed",
        ),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "not valid JSON: a key occurs twice in one object"),
        (b"[1, 2]", "a JSON object is expected, found list"),
        (b'{"a": 1}', "no artifact: 'schema' and 'version' are missing"),
        (b'{"a": "\xff"}', "not valid JSON: 'utf-8' codec can't decode byte 0xff in position 7: invalid start byte"),
    ],
)
def test_what_is_no_artifact_is_refused_with_the_reason(tmp_path, content, expected):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    assert refusal(NotAnArtifact, path, read=lambda path, _: qat_artifacts.read_header(path)) == f"FILE: {expected}"


def test_deep_nesting_is_refused_not_a_crash(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    assert refusal(NotAnArtifact, path).startswith("FILE: not valid JSON: maximum recursion depth exceeded")


def test_missing_file_and_folder_are_named(tmp_path):
    assert refusal(NotAnArtifact, tmp_path / "absent.json") == "FILE: No such file or directory"
    assert refusal(NotAnArtifact, tmp_path) == "FILE: Is a directory"


def test_size_is_checked_before_the_file_is_read(tmp_path):
    path = tmp_path / "huge.json"
    with path.open("wb") as stream:
        stream.truncate(_codec.MAX_BYTES + 1)  # sparse: takes no space
    assert refusal(NotAnArtifact, path) == "FILE: 268435457 bytes, more than the 268435456 an artifact may have"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5"])
def test_a_value_that_could_not_be_read_again_is_never_written(tmp_path, value):
    record = Probe(name="x", done=True, history=(Point(epoch=1, value=value),))
    with pytest.raises(InvalidArtifact) as caught:
        qat_artifacts.write(tmp_path / "probe.json", record, created_by="example 1.0")
    assert caught.value.faults == (
        f"history[0].value: expected a finite number, found {type(value).__name__} {value!r}",
    )
    assert list(tmp_path.iterdir()) == []


def test_nan_in_an_untyped_field_is_not_written_either(tmp_path):
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        qat_artifacts.write(tmp_path / "x.json", Loose(anything={"a": [float("nan")]}), created_by="example 1.0")
    assert list(tmp_path.iterdir()) == []


def test_creator_defaults_to_the_distribution_of_the_schema_and_its_version(tmp_path):
    @attrs.frozen(kw_only=True)
    class Own:
        SCHEMA: ClassVar[str] = "qat-artifacts/test"
        VERSION: ClassVar[str] = "1.0"

    header = qat_artifacts.write(tmp_path / "x.json", Own())
    assert header.created_by.startswith("qat-artifacts ")
    assert qat_artifacts.read_header(tmp_path / "x.json") == header


def test_input_references_hold_schema_hash_and_a_path_that_survives_moving_the_tree(tmp_path):
    tree = tmp_path / "tree"
    source, target = tree / "a" / "source.json", tree / "b" / "c" / "target.json"
    qat_artifacts.write(source, EXAMPLE, created_by="example 1.0")
    qat_artifacts.write(target, EXAMPLE, created_by="example 1.0", inputs=[source])
    moved = Path(shutil.move(tree, tmp_path / "elsewhere")) / "b" / "c" / "target.json"
    (ref,) = qat_artifacts.read_header(moved).inputs
    assert ref == Ref(
        schema="example/probe",
        sha256=qat_artifacts.sha256_file(moved.parent / ref.path),
        path="../../a/source.json",
    )


@pytest.mark.parametrize("text", ["[]", '{"images": []}', '{"schema": 3, "version": "1.0"}', "{"])
def test_json_that_is_no_artifact_is_referenced_as_a_file(tmp_path, text):
    (tmp_path / "annotations.json").write_text(text, encoding="utf-8")
    header = qat_artifacts.write(
        tmp_path / "x.json", EXAMPLE, created_by="example 1.0", inputs=[tmp_path / "annotations.json"]
    )
    assert [ref.schema for ref in header.inputs] == ["file"]


finite = st.floats(allow_nan=False, allow_infinity=False)
points = st.builds(Point, epoch=st.integers(min_value=0), value=st.none() | finite)
text = st.text(st.characters(codec="utf-8"))
probes = st.builds(
    Probe,
    name=text,
    done=st.booleans(),
    kind=st.sampled_from(["short", "long"]),
    history=st.lists(points, max_size=5).map(tuple),
    extra=st.dictionaries(text, text | st.integers() | finite | st.booleans(), max_size=5),
    limit=st.none() | st.integers(),
)


@given(probes)
def test_any_record_reads_back_equal_with_equal_types(tmp_path_factory, probe):
    path = tmp_path_factory.getbasetemp() / "roundtrip.json"
    qat_artifacts.write(path, probe, created_by="example 1.0")
    again = qat_artifacts.read(path, Probe)
    assert again == probe
    assert {key: type(value) for key, value in again.extra.items()} == {k: type(v) for k, v in probe.extra.items()}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_text_of_any_json_value_loads_back_equal_and_has_one_form(value):
    assert qat_artifacts.loads(qat_artifacts.dumps(value)) == value
    assert qat_artifacts.dumps(qat_artifacts.loads(qat_artifacts.dumps(value))) == qat_artifacts.dumps(value)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_file_is_read_or_refused_by_name_never_with_another_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    with pytest.raises(qat_artifacts.ArtifactError, match=r"any\.json"):
        qat_artifacts.read(path, Probe)
