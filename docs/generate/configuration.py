"""The page of every configuration key: names, types, defaults and ranges from the classes, meanings from meanings.toml.

A range is what the program itself says about values outside it: each validator is tried with some, and its text kept.
"""

import ast
import inspect
import math
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import attrs
import tomli

from generate.tables import cell, code, paragraphs, prose, table
from qat_gate import policy as gate_policy
from qat_ladder import config
from qat_ladder.campaign import file as campaign
from qat_ladder.compose import flatten
from qat_train.errors import TrainError
from qat_train.policy import Rule
from qat_train.spec import RunSpec, intervention_names

ROOT = Path(__file__).parents[2]
HEADER = ("key", "type", "default", "range", "meaning")
_BY_FILE: dict[type, str] = {  # sections of the ladder whose values come from a file that is chosen
    config.Model: "[by variant](#variants)",
    config.Method: "[by method](methods.md)",
}
_OUTSIDE: dict[type, tuple[Any, ...]] = {  # values that a key of this type may refuse
    int: (-1, 0, 33, 10**9),
    float: (-1.0, 0.0, 2.0, math.nan),
    str: ("", "?"),
    tuple: ((), ("?", "?")),
    dict: ({"?": -1.0},),
}


@attrs.frozen(kw_only=True)
class File:
    """A kind of TOML file: the class that checks it, and where its shipped defaults stand.

    `root`: the class of the whole file. `prefix`: put before its keys in meanings.toml. `shipped`: a file whose values
    are the defaults of a user who writes nothing; None where there is none.
    """

    title: str
    text: str
    root: type
    prefix: str
    shipped: str | None = None


FILES = (
    File(
        title="The ladder: configs/ladder.toml, --config, --set",
        text="Read in this order, later ones win: `configs/ladder.toml`, the variant's file, the profile's, the "
        "method's, `--config` files, `--set section.key=value` and flags. `invoke config.show` prints the result with "
        "the origin of every key.",
        root=config.Config,
        prefix="",
        shipped="configs/ladder.toml",
    ),
    File(
        title="A training run: run.toml",
        text="What `qat-train run --spec` reads; the ladder writes one per training run. Relative paths are taken from "
        "the file's folder.",
        root=RunSpec,
        prefix="run.toml/",
    ),
    File(
        title="A layer policy",
        text="What `quantization.policy` names: `[[rule]]` tables, read in order, of which the last that matches a "
        "layer decides. A layer that no rule matches stays in floating point.",
        root=Rule,
        prefix="policy/rule.",
    ),
    File(
        title="The gate: configs/gate.toml",
        text="What `qat-gate check --policy` reads. Defaults are the shipped file's values; in a policy of your own, "
        "every key but `include` and the table `[floors]` has to stand.",
        root=gate_policy.Policy,
        prefix="gate.toml/",
        shipped="configs/gate.toml",
    ),
    File(
        title="A campaign: configs/campaigns/*.toml",
        text="What `invoke campaign.run --file` reads.",
        root=campaign._File,
        prefix="campaign/",
    ),
)


def meanings() -> dict[str, str]:
    """What each key means, by the name that `keys` gives it."""
    found: dict[str, str] = tomli.loads((Path(__file__).parent / "meanings.toml").read_text(encoding="utf-8"))
    return found


def keys(root: type, prefix: str = "") -> Iterator[tuple[str, type, "attrs.Attribute[Any]"]]:
    """(dotted key, class that holds it, field) of a file's class; tables in it are walked into."""
    for field in attrs.fields(cast(Any, root)):
        kind = typing.get_type_hints(root)[field.name]
        nested = [part for part in (kind, *typing.get_args(kind)) if isinstance(part, type) and attrs.has(part)]
        if nested:
            yield from keys(nested[0], f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", root, field


def all_keys() -> list[str]:
    """The name of every key of every file in meanings.toml."""
    return [key for file in FILES for key, _, _ in keys(file.root, file.prefix)]


def meaning(key: str, known: Mapping[str, str]) -> str:
    """What a key means; keys of run.toml that the ladder has too mean the same.

    Raises:
        KeyError: meanings.toml has no text for it.
    """
    return known.get(key) or known[key.removeprefix("run.toml/")]


def page() -> str:
    """Every key of every file."""
    known = meanings()
    parts = [
        "# Configuration keys\n",
        "Made from the classes that check them. Every key is checked before anything runs, and all faults are told at "
        "once, each with its file, key and the nearest name.\n",
    ]
    for file in FILES:
        parts += [f"## {file.title}\n", f"{file.text}\n"]
        shipped = {}
        if file.shipped:
            parts.append(f"Shipped: [{file.shipped}](../../{file.shipped}).\n")
            shipped = flatten(tomli.loads((ROOT / file.shipped).read_text(encoding="utf-8")))
        section: type | None = None
        rows: list[tuple[str, ...]] = []
        for key, owner, field in keys(file.root, file.prefix):
            if owner is not section and rows:
                parts.append(_section(section, rows))
                rows = []
            section = owner
            rows.append(_row(key.rpartition("/")[2], owner, field, shipped, meaning(key, known)))
        parts.append(_section(section, rows))
    parts += ["## Interventions\n", _interventions(), "## Profiles\n", _profiles(), "## Variants\n", _variants()]
    return "\n".join(parts)


def _section(owner: type | None, rows: list[tuple[str, ...]]) -> str:
    text = paragraphs(inspect.cleandoc(owner.__doc__ or "")) if owner else ""
    return f"{text}\n{table(HEADER, rows)}"


def _row(
    key: str, owner: type, field: "attrs.Attribute[Any]", shipped: Mapping[str, Any], text: str
) -> tuple[str, ...]:
    kind = typing.get_type_hints(owner)[field.name]
    if key in shipped:
        default = code(_toml(shipped[key])) if shipped[key] != "" else "none"
    elif owner in _BY_FILE and field.default is attrs.NOTHING:
        default = _BY_FILE[owner]
    elif field.default is attrs.NOTHING:
        default = "required"
    else:
        value = getattr(field.default, "factory", lambda: field.default)()  # attrs.Factory, or the default itself
        default = "none" if value in (None, (), {}, "") else code(_toml(value))
    return code(key), code(spell(kind)), default, cell("; ".join(limits(owner, field, kind))), prose(text)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(list(value) if isinstance(value, tuple) else value)


def spell(kind: Any) -> str:
    """A type as a user of TOML says it."""
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is Literal:
        return " | ".join(_toml(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {spell(arguments[0])}"
    if origin is dict:
        return f"table of {spell(arguments[1])}"
    if arguments:
        return " | ".join(spell(argument) for argument in arguments if argument is not type(None))
    return {str: "string", int: "integer", float: "number", bool: "true | false"}[kind]


def limits(owner: type, field: "attrs.Attribute[Any]", kind: Any) -> list[str]:
    """What the program says about values of the right type that it refuses, each text once."""
    if typing.get_origin(kind) is Literal:  # the type says it all
        return []
    kinds = {typing.get_origin(part) or part for part in (kind, *typing.get_args(kind))}
    texts: dict[str, None] = {}
    for value in (value for of, values in _OUTSIDE.items() if of in kinds for value in values):
        try:
            if field.validator is not None:
                field.validator(object(), field, value)
            else:
                owner(**{field.name: value})
        except (ValueError, TrainError) as error:
            texts[_rule(str(error.args[0]), field.name)] = None
        except (TypeError, AttributeError):  # the check looks at other keys too
            continue
    return list(texts)


def _rule(text: str, name: str) -> str:
    """An error text without the key, which stands in the first column, and without the value that was tried."""
    text = re.sub(r"^--[\w-]+ '[^']*': ", "", text)
    text = re.sub(rf"^(Length of )?'?{name}'?(?: [\[('\d-][^:]*| \?|)(?::)? ", r"\1", text)
    text = re.sub(r"(, found .*|: (-?[\d.]+|nan))$", "", text)
    return (
        re.sub(r"^(Length of )?(?:must (?:be |lie )?|expected )", r"\1", text)
        .replace("Length of", "length")
        .replace("or be ", "or ")
    )


def _interventions() -> str:
    """Each intervention with the first line of its module."""
    folder = ROOT / "packages/qat-train/src/qat_train/interventions"
    rows = [(code(f"interventions.{name}"), prose(_first_line(folder / f"{name}.py"))) for name in intervention_names()]
    text = "`[interventions]` holds strengths by name; a name is a module of `qat_train.interventions`.\n\n"
    return text + table(("key", "what the strength weighs"), rows)


def _first_line(module: Path) -> str:
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert text is not None
    return text.partition("\n")[0]


def _profiles() -> str:
    """What each profile sets."""
    return _by_file(sorted((ROOT / "configs/profiles").glob("*.toml")))


def _variants() -> str:
    """What each variant sets."""
    return _by_file(sorted((ROOT / "configs/variants").glob("*.toml")))


def _by_file(paths: list[Path]) -> str:
    flat = {path.stem: flatten(tomli.loads(path.read_text(encoding="utf-8"))) for path in paths}
    names = sorted({key for table_ in flat.values() for key in table_})
    rows = [
        (code(key), *(code(_toml(values[key])) if key in values else "" for values in flat.values())) for key in names
    ]
    return table(("key", *flat), rows)
