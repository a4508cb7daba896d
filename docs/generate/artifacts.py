"""Pages of the artifacts, from docs/schemas and the table of docs/artifacts.md."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from generate import links
from generate.tables import code, paragraphs, table

DOCS = Path(__file__).parents[1]
# Lives as long as its run, so the contract does not name it.
PRIVATE = {"qat-train/state": ("state.json", "`qat-train run`", "`qat-train run`, to go on after a stop")}
HEADER_FIELDS = ("schema", "version", "created_by", "inputs")


@attrs.frozen(kw_only=True)
class Artifact:
    """One schema file, and what docs/artifacts.md says of who writes and reads it; `page` is its file's stem."""

    page: str
    document: Mapping[str, Any]
    files: str
    writer: str
    reader: str

    @property
    def schema(self) -> str:
        """Id, such as qat-train/run."""
        found: str = self.document["properties"]["schema"]["const"]
        return found


def contract() -> dict[str, tuple[str, str, str]]:
    """(files, written by, read by) of each schema, as the table of docs/artifacts.md says."""
    text = (DOCS / "artifacts.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| ([a-z-]+/[a-z-]+) \| (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    return {schema: (files, writer, reader) for schema, files, writer, reader in found} | PRIVATE


def all_artifacts() -> list[Artifact]:
    """Every published schema, by id."""
    rows = contract()
    made = []
    for path in sorted((DOCS / "schemas").glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        files, writer, reader = rows.get(document["properties"]["schema"]["const"], ("", "", ""))
        files = links.rewrite(files, "docs/artifacts.md", f"reference/artifacts/{path.stem}.md")
        made.append(Artifact(page=path.stem, document=document, files=files, writer=writer, reader=reader))
    return made


def index() -> str:
    """The page over all artifacts."""
    rows = [(f"[{a.document['title']}]({a.page}.md)", a.files, a.writer, a.reader) for a in all_artifacts()]
    return "\n".join(
        (
            "# Artifacts\n",
            "Made from `docs/schemas`, which are made from the classes that read and write the files. "
            "[The contract](../../artifacts.md) says what is common to all: the header, versions, who may refuse what, "
            "and the meaning of values.\n",
            table(("schema", "file", "written by", "read by"), rows),
        )
    )


def page(artifact: Artifact) -> str:
    """One artifact, field by field."""
    document = artifact.document
    definitions: Mapping[str, Any] = document["$defs"]
    body = {name: kind for name, kind in document["properties"].items() if name not in HEADER_FIELDS}
    parts = [
        f"# {document['title']}\n",
        f"{artifact.files}, written by {artifact.writer}, read by {artifact.reader}. "
        f"[JSON Schema](../../schemas/{artifact.page}.json). The fields of the "
        "[header](../../artifacts.md) (`schema`, `version`, `created_by`, `inputs`) stand beside these.\n",
        paragraphs(document.get("description", "")),
        _fields(body, document.get("required", ())),
    ]
    for name in _reachable(body, definitions):
        definition = definitions[name]
        parts += [f"## {name}\n", paragraphs(definition.get("description", ""))]
        if "properties" in definition:
            parts.append(_fields(definition["properties"], definition.get("required", ())))
    return "\n".join(parts)


def _fields(properties: Mapping[str, Any], required: Any) -> str:
    rows = [(code(name), spell(kind), "" if name in required else "may be absent") for name, kind in properties.items()]
    return table(("field", "type", ""), rows)


def _reachable(properties: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """Definitions in the order in which a reader meets them."""
    waiting, met = re.findall(r"#/\$defs/(\w+)", json.dumps(properties)), dict[str, None]()
    while waiting:
        name = waiting.pop(0)
        if name not in met:
            met[name] = None
            waiting += re.findall(r"#/\$defs/(\w+)", json.dumps(definitions[name]))
    return list(met)


def spell(kind: Mapping[str, Any]) -> str:
    """A type of JSON Schema in words; a class is a link to its table."""
    if "$ref" in kind:
        name = kind["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in kind:
        return " or ".join(spell(option) for option in kind["anyOf"])
    if "enum" in kind or "const" in kind:
        return " or ".join(code(json.dumps(value)) for value in kind.get("enum", [kind.get("const")]))
    if kind.get("type") == "array":
        inner = kind.get("items") or kind.get("prefixItems", [{}])[0]
        return f"list of {spell(inner)}"
    if kind.get("type") == "object" and isinstance(kind.get("additionalProperties"), dict):
        return f"object of {spell(kind['additionalProperties'])}"
    return str(kind.get("type", "any"))
