"""docs/schemas is what the classes say, and files of released versions stay readable."""

import importlib
import json
from pathlib import Path

import jsonschema
import pytest

import qat_artifacts
from qat_ladder.schemas import OWNERS, json_schema, render

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "docs" / "schemas"
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))


@pytest.mark.parametrize("schema", OWNERS)
def test_the_published_schema_is_generated_from_the_class(schema):
    name, document = json_schema(schema)
    assert (SCHEMAS / name).read_text(encoding="utf-8") == render(document), "run: invoke docs.schemas"
    jsonschema.Draft202012Validator.check_schema(document)


def test_no_schema_is_published_that_nothing_owns():
    assert {p.name for p in SCHEMAS.glob("*.json")} == {json_schema(s)[0] for s in OWNERS}


def owner(schema):
    module, _, name = OWNERS[schema].partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_a_golden_file_is_read_by_its_owner_and_valid_by_its_schema(path):
    header = qat_artifacts.read_header(path)
    record = qat_artifacts.read(path, owner(header.schema))
    content = json.loads(path.read_text(encoding="utf-8"))
    document = json.loads((SCHEMAS / json_schema(header.schema)[0]).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(document).validate(content)
    body = json.loads(qat_artifacts.dumps(qat_artifacts.unstructure(record)))
    kept = {k: v for k, v in content.items() if k not in ("schema", "version", "created_by", "inputs")}
    assert kept == {k: body[k] for k in kept}
    if header.version == owner(header.schema).VERSION:  # a later minor adds keys, with what their absence means
        assert kept.keys() == body.keys()


def test_every_artifact_has_a_golden_file():
    kept_on_disk = set(OWNERS) - {"qat-train/state"}  # private to a run, deleted when it ends
    assert {qat_artifacts.read_header(path).schema for path in GOLDEN} == kept_on_disk


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_an_unknown_key_and_another_major_are_refused(path, tmp_path):
    content = json.loads(path.read_text(encoding="utf-8"))
    cls = owner(content["schema"])
    copy = tmp_path / path.name
    copy.write_text(json.dumps(content | {"surprise": 1}))
    with pytest.raises(qat_artifacts.InvalidArtifact, match="unknown field 'surprise'"):
        qat_artifacts.read(copy, cls)
    copy.write_text(json.dumps(content | {"version": "2.0"}))
    with pytest.raises(qat_artifacts.UnsupportedVersion):
        qat_artifacts.read(copy, cls)
