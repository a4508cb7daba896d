"""From layers of TOML to one checked configuration that knows where each key comes from."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import attrs
import tomli
import tomli_w

import qat_artifacts
from qat_ladder.config import Config
from qat_ladder.errors import ConfigError

Table = dict[str, Any]


@attrs.frozen(kw_only=True)
class Layer:
    """Keys from one origin. `kind` is base, variant, profile, method or given (a flag, --config, --set)."""

    kind: str
    origin: str
    content: Table


@attrs.frozen(kw_only=True)
class Resolved:
    """A configuration, the layer that each dotted key was last set by, and the profile it was made under.

    `own`: keys that the method's file sets, whoever had the last word. `gate_override`: why it is started against a
    NO-GO; "" where it is not.
    """

    config: Config
    origins: dict[str, Layer]
    own: frozenset[str] = frozenset()
    profile: str = ""
    gate_override: str = ""

    def flat(self) -> dict[str, Any]:
        """Values by dotted key."""
        return flatten(qat_artifacts.unstructure(self.config))


def flatten(table: Table, prefix: str = "") -> Table:
    """Values by dotted key."""
    found: Table = {}
    for key, value in table.items():
        found |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def read_layer(path: Path, kind: str) -> Layer:
    """Read one TOML file.

    Raises:
        ConfigError: it is missing (with the names that are there), or no TOML.
    """
    try:
        content = tomli.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        if kind == "given":
            raise ConfigError(f"--config {path}: there is no such file") from error
        there = sorted(p.stem for p in path.parent.glob("*.toml"))
        near = difflib.get_close_matches(path.stem, there, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no {kind} {path.stem!r}: {path} is missing{hint} (there: {', '.join(there)})") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or nested too deeply
        raise ConfigError(f"{path}: {error}") from error
    return Layer(kind=kind, origin=os.path.relpath(path), content=content)


def parse_setting(text: str) -> Layer:
    """`a.b=1` of --set; the value is TOML, and a bare word is a string.

    Raises:
        ConfigError: no equals sign, or no key of the form section.key.
    """
    key, equals, raw = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z0-9_]+\.[A-Za-z0-9_]+", key.strip()):
        raise ConfigError(f"--set {text}: expected section.key=value, such as training.epochs=12")
    try:
        value = tomli.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):  # no TOML
        value = raw.strip()
    section, name = key.strip().split(".")
    return Layer(kind="given", origin=f"--set {text}", content={section: {name: value}})


def compose(layers: Iterable[Layer]) -> Resolved:
    """Merge layers, later ones win, and check the result.

    Raises:
        ConfigError: every fault at once, each with its file, key, what is allowed, and the nearest name.
    """
    merged: Table = {}
    origins: dict[str, Layer] = {}
    faults = []
    method: Table = {}
    for layer in layers:
        for section, table in layer.content.items():
            if not isinstance(table, dict):
                faults.append(f"{layer.origin}: {section}: keys belong into a section such as [training]")
                continue
            merged.setdefault(section, {}).update(table)
            origins |= dict.fromkeys((f"{section}.{key}" for key in table), layer)
        if layer.kind == "method":
            method |= flatten(layer.content)
    faults += _faults(merged, origins) or _contradictions(merged, origins, method)
    if faults:
        raise ConfigError("wrong configuration:\n  " + "\n  ".join(faults))
    config = qat_artifacts.structure(merged, Config, source="configuration")
    return Resolved(config=config, origins=origins, own=frozenset(method))


def _faults(merged: Table, origins: dict[str, Layer]) -> list[str]:
    """Every fault of every key; structuring the whole would stop at a section's first one."""
    sections = {field.name: field.type for field in attrs.fields(Config)}
    found = []
    for section in merged.keys() | sections.keys():
        if section not in sections:
            origin = next((o.origin for k, o in origins.items() if k.startswith(f"{section}.")), "configuration")
            found.append(f"{origin}: unknown section [{section}]{_nearest(section, sections)}")
            continue
        values = merged.get(section, {})
        if not attrs.has(cast(Any, sections[section])):  # an open section: any name, all values of one kind
            whole = getattr(attrs.fields(Config), section)
            single = ((key, _fault({key: value}, whole)) for key, value in values.items())
            found += [
                f"{origins[f'{section}.{key}'].origin}: {section}.{key}: {fault}" for key, fault in single if fault
            ]
            continue
        fields = {field.name: field for field in attrs.fields(cast(Any, sections[section]))}
        for key in values.keys() - fields.keys():
            origin = origins[f"{section}.{key}"].origin
            found.append(f"{origin}: {section}.{key}: unknown key{_nearest(key, fields)}")
        for key, field in fields.items():
            if key not in values and field.default is attrs.NOTHING:
                found.append(f"configuration: {section}.{key} is missing")
            elif key in values and (fault := _fault(values[key], field)):
                found.append(f"{origins[f'{section}.{key}'].origin}: {section}.{key}: {fault}")
    return sorted(found)


def _contradictions(merged: Table, origins: dict[str, Layer], method: Table) -> list[str]:
    """What no single key shows: a row that would not be what its name says, or parts that exclude each other.

    A strength may be given: the training run's name states it.
    """
    flat = flatten(merged)
    found = [
        f"{origins[key].origin}: {key}: the method {flat['method.name']!r} sets it to {value!r}; under another value "
        "the row is not what its name says: leave the method out, or write one of your own into configs/methods"
        for key, value in method.items()
        if key in origins and flat[key] != value and not key.startswith("interventions.")  # no origin: in no section
    ]
    quantization = merged["quantization"]
    if quantization["bits"] == 32 and merged["method"]["correction"]:
        found.append(
            f"{origins['quantization.bits'].origin}: quantization.bits = 32 is floating point: there are no codes, and "
            f"the method {flat['method.name']!r} has nothing to correct; choose fp32 or fp32+ema as controls"
        )
    quantizer = quantization.get("quantizer", "qat-train")
    if quantizer != "qat-train" and merged["method"]["correction"]:
        found.append(
            f"{origins['quantization.quantizer'].origin}: quantization.quantizer = {quantizer!r} is a row to compare "
            f"with; the method {flat['method.name']!r} corrects, which works on our own grid"
        )
    if quantization["bits"] == 32 and quantization["learned"]:
        found.append(
            f"{origins['quantization.learned'].origin}: quantization.learned = true, but 32 bits have no scales"
        )
    if quantization["learned"] and merged["training"]["optimizer"] == "SGD":
        found.append(
            f"{origins['training.optimizer'].origin}: training.optimizer = 'SGD': learned scales need Adam or AdamW, "
            "whose steps do not depend on the size of a gradient"
        )
    training = merged["training"]
    if training["batch"] % (count := training["device"].count(",") + 1):
        found.append(
            f"{origins['training.device'].origin}: training.device = {training['device']!r}: a batch of "
            f"{training['batch']} cannot be divided among {count} devices; set training.batch to a multiple of {count}"
        )
    return found


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{hint}, allowed: {', '.join(known)}"


def _fault(value: Any, field: "attrs.Attribute[Any]") -> str | None:
    """What is wrong with one value, None if nothing is."""
    try:
        made = qat_artifacts.structure(value, cast(Any, field.type), source="value")
        if field.validator is not None:
            field.validator(None, field, made)
    except qat_artifacts.InvalidArtifact as error:
        return error.faults[0].removeprefix("top level: ")
    except (TypeError, ValueError) as error:
        return str(error.args[0] if error.args else error)
    return None


def render(resolved: Resolved) -> str:
    """The configuration as TOML, the origin of each key as a comment."""
    lines: list[str] = []
    section = ""
    for key, value in resolved.flat().items():
        head, _, name = key.partition(".")
        if head != section:
            section = head
            lines += ["", f"[{section}]"]
        layer = resolved.origins.get(key)
        lines.append(f"{tomli_w.dumps({name: value}).strip():40} # {layer.origin if layer else 'default'}")
    return "\n".join(lines).strip()
