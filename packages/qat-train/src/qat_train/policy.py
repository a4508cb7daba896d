"""Layer policy: which convolution gets how many bits. Data, not code: rules by name, type and place in the graph."""

import fnmatch
import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import tomli
from attrs import validators

import qat_artifacts
from qat_train.errors import SpecError

Place = Literal["any", "stem", "head", "head-last", "dfl"]
Kind = Literal["any", "dense", "pointwise", "depthwise"]


@attrs.frozen(kw_only=True)
class Rule:
    """Layers of this `name`, `place`, `kind` and size get `bits`: "base" (the run's width), "float", or 2 to 8.

    `max_share`: at most this share of all convolution weights of the model, in (0, 1]. A share rather than a count: a
    layer's cost is measured against the whole, so that a rule means much the same in every size of a family.

    `name` is a pattern on the layer's path: `*` any text (dots too), `?` one character, `[ab]` one of these. A pattern
    holds for one architecture alone, so it belongs into policy files; the shipped ones go by place and kind.
    """

    name: str = attrs.field(default="*", validator=validators.min_len(1))
    place: Place = "any"
    kind: Kind = "any"
    max_share: float = attrs.field(default=1.0, validator=[validators.gt(0.0), validators.le(1.0)])
    bits: int | str = attrs.field()

    @bits.validator
    def _check_bits(self, _: Any, value: int | str) -> None:
        if not (value in ("base", "float") or (isinstance(value, int) and 2 <= value <= 8)):
            raise ValueError(f"bits must be 'base', 'float' or 2 to 8, found {value!r}")


@attrs.frozen(kw_only=True)
class Policy:
    """Rules in order; for each layer the last rule that matches decides. A layer no rule matches stays in float.

    `source` is the file, for error texts.
    """

    name: str
    rules: tuple[Rule, ...]
    source: str = ""


@attrs.frozen(kw_only=True)
class Site:
    """One convolution of a detector as the policy sees it: its path, its places, its kind, its share of all weights."""

    name: str
    places: frozenset[str]
    kind: Kind
    share: float


def load_policy(name: str, *, folder: Path | None = None) -> Policy:
    """A policy that ships with this package by name ("default", "all"), or a TOML file by path.

    Raises:
        SpecError: unknown name, unreadable file, or a rule outside its range; the text names file and rule.
    """
    if name.endswith(".toml"):
        path = (folder or Path()) / name
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise SpecError(f"quantization.policy: {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SpecError(f"quantization.policy: {path}: not UTF-8 at byte {error.start}") from error
        source, label = str(path), path.stem
    else:
        shipped = importlib.resources.files("qat_train") / "policies"
        known = sorted(item.name.removesuffix(".toml") for item in shipped.iterdir() if item.name.endswith(".toml"))
        if name not in known:
            raise SpecError(
                f"quantization.policy: unknown policy {name!r}; shipped are {', '.join(known)}, or give a .toml file"
            )
        source, label = f"policies/{name}.toml", name
        text = (shipped / f"{name}.toml").read_text(encoding="utf-8")
    try:
        raw = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # no TOML, or nested too deeply
        raise SpecError(f"{source}: {error}") from error
    found = raw.get("rule", [])
    if not (isinstance(found, list) and all(isinstance(item, dict) for item in found)):
        raise SpecError(f"{source}: rule must be a list of tables; write [[rule]] before each")
    rules = tuple(_rule(item, f"{source}: rule[{i}]") for i, item in enumerate(found))
    if not rules:
        raise SpecError(f"{source}: no [[rule]] found")
    return Policy(name=label, rules=rules, source=source)


def _rule(raw: Mapping[str, Any], source: str) -> Rule:
    bits = raw.get("bits")
    if isinstance(bits, bool) or not isinstance(bits, int | str):
        raise SpecError(f"{source}: bits must be 'base', 'float' or 2 to 8, found {bits!r}")
    try:
        rest = qat_artifacts.structure({k: v for k, v in raw.items() if k != "bits"}, _RuleWithoutBits, source=source)
        return Rule(name=rest.name, place=rest.place, kind=rest.kind, max_share=rest.max_share, bits=bits)
    except qat_artifacts.InvalidArtifact as error:
        raise SpecError(str(error)) from error
    except ValueError as error:
        raise SpecError(f"{source}: {error}") from error


@attrs.frozen(kw_only=True)
class _RuleWithoutBits:
    name: str = attrs.field(default="*", validator=validators.min_len(1))
    place: Place = "any"
    kind: Kind = "any"
    max_share: float = 1.0


def deciding_bits(policy: Policy, sites: Sequence[Site]) -> dict[str, int | str]:
    """What the deciding rule says of each site, "base", "float" or a width, in the order of `sites`.

    Raises:
        SpecError: a rule names a layer that is not there; the text names file and rule.
    """
    for i, rule in enumerate(policy.rules):
        if not any(fnmatch.fnmatchcase(site.name, rule.name) for site in sites):
            raise SpecError(
                f"{policy.source or policy.name}: rule[{i}]: name {rule.name!r} matches no convolution of this model; "
                "`qat-train layers` lists them"
            )
    return {site.name: next((r.bits for r in reversed(policy.rules) if _matches(r, site)), "float") for site in sites}


def _matches(rule: Rule, site: Site) -> bool:
    return (
        fnmatch.fnmatchcase(site.name, rule.name)
        and (rule.place == "any" or rule.place in site.places)
        and rule.kind in ("any", site.kind)
        and site.share <= rule.max_share
    )


def assign_bits(policy: Policy, sites: Sequence[Site], base_bits: int) -> dict[str, int | None]:
    """Bits of each site, None for float, in the order of `sites`.

    Raises:
        SpecError: as `deciding_bits`.
    """
    return {
        name: base_bits if bits == "base" else None if bits == "float" else int(bits)
        for name, bits in deciding_bits(policy, sites).items()
    }
