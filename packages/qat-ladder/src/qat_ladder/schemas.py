"""JSON Schemas of every artifact, generated from the attrs classes that read and write them."""

import importlib
import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import msgspec

# schema id -> where the class lives; resolved by name because some of these modules are heavy to import
OWNERS = {
    "qat-data/dataset": "qat_data:Dataset",
    "qat-data/evaluation": "qat_data:Evaluation",
    "qat-train/run": "qat_train.run:Run",
    "qat-train/references": "qat_train.references:StoredReferences",
    "qat-train/checkpoint": "qat_train.checkpoint:Checkpoint",
    "qat-train/state": "qat_train.state:TrainingState",
    "qat-train/audit": "qat_train.audit:Audit",
    "qat-train/pace": "qat_train.pace:Pace",
    "qat-train/sensitivity": "qat_train.ranking:Sensitivity",
    "qat-train/export": "qat_train.export.record:Export",
    "qat-qc/correction": "qat_qc.records:CorrectionRecord",
    "qat-report/run-summary": "qat_report:RunSummary",
    "qat-report/comparison": "qat_report:Comparison",
    "qat-gate/decision": "qat_gate:Decision",
    "ladder/plan": "qat_ladder.plan:Plan",
    "ladder/request": "qat_ladder.request:RunRequest",
    "ladder/campaign": "qat_ladder.campaign.file:Campaign",
    "ladder/benchmark": "qat_ladder.bench.record:Benchmark",
}

HEADER = {
    "schema": {"type": "string"},
    "version": {"type": "string", "pattern": r"^\d+\.\d+$"},
    "created_by": {"type": "string"},
    "inputs": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "schema": {"type": "string"},
                "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                "path": {"type": "string"},
            },
            "required": ["schema", "sha256", "path"],
            "additionalProperties": False,
        },
    },
}


def file_name(schema: str, version: str) -> str:
    """Name under docs/schemas, such as `qat-train-run-1.json`: one file per major version."""
    return f"{schema.replace('/', '-')}-{version.partition('.')[0]}.json"


def _renames(cls: type) -> dict[str, dict[str, str]]:
    """JSON keys that differ from their field's name (`Annotated[..., override(rename=...)]`), by class name."""
    found: dict[str, dict[str, str]] = {}
    waiting: list[Any] = [cls]
    while waiting:
        kind = waiting.pop()
        waiting += get_args(kind)
        if not isinstance(kind, type) or not attrs.has(kind) or kind.__name__ in found:
            continue
        hints = get_type_hints(kind, include_extras=True)
        waiting += hints.values()
        found[kind.__name__] = {
            name: note.rename
            for name, hint in hints.items()
            for note in getattr(hint, "__metadata__", ())
            if getattr(note, "rename", None)
        }
    return found


def json_schema(schema: str) -> tuple[str, dict[str, Any]]:
    """(file name, JSON Schema) of one artifact: its class, with the header's fields beside the body's."""
    importlib.import_module("qat_train.environment").prepare_environment()  # Ultralytics reads it at import
    module, _, owner = OWNERS[schema].partition(":")
    cls = getattr(importlib.import_module(module), owner)
    (body,), definitions = msgspec.json.schema_components([cls], ref_template="#/$defs/{name}")
    root = definitions.pop(body["$ref"].rpartition("/")[2])
    renames = _renames(cls)
    for name, definition in [(cls.__name__, root), *definitions.items()]:
        for field, key in renames.get(name, {}).items():
            definition["properties"][key] = definition["properties"].pop(field)
            definition["required"] = [key if r == field else r for r in definition.get("required", ())]
        if definition.get("type") == "object" and "properties" in definition:
            definition["additionalProperties"] = False  # readers of the same version refuse unknown keys
    root["properties"] = {
        **HEADER,
        "schema": {"const": cls.SCHEMA},
        **root["properties"],
    }
    root["required"] = sorted({*HEADER, *root.get("required", ())})
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{cls.SCHEMA} {cls.VERSION}",
        **{key: value for key, value in root.items() if key != "title"},
        "$defs": definitions,
    }
    return file_name(cls.SCHEMA, cls.VERSION), document


def render(document: dict[str, Any]) -> str:
    """Text of a schema file."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write every schema into `folder`; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for schema in OWNERS:
        name, document = json_schema(schema)
        path = folder / name
        path.write_text(render(document), encoding="utf-8")
        paths.append(path)
    return paths
