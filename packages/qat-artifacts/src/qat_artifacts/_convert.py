"""Strict conversion between JSON values and attrs records.

cattrs coerces by default (0.9 to 0, "false" to True); an artifact that needs coercion is a wrong artifact.
"""

import difflib
import math
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from cattrs import Converter, cols, transform_error
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.strategies import configure_union_passthrough

from qat_artifacts.errors import InvalidArtifact

T = TypeVar("T")


def _exact(kind: type) -> Any:
    def hook(value: Any, _: Any) -> Any:
        if type(value) is not kind:  # bool is a subclass of int: `isinstance` would let True pass as 1
            raise TypeError(f"expected {kind.__name__}, found {type(value).__name__} {value!r:.60}")
        return value

    return hook


def _finite(value: Any, _: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError(f"expected a finite number, found {type(value).__name__} {value!r:.60}")
    return float(value)


def _shaped(expected: str, kinds: tuple[type, ...], factory: Callable[[Any, Converter], Any]) -> Any:
    """A cattrs hook factory that checks the JSON shape first: a string is iterable, and would pass as its letters."""

    def make(cls: Any, converter: Converter) -> Any:
        inner = factory(cls, converter)

        def hook(value: Any, kind: Any) -> Any:
            if not isinstance(value, kinds):
                raise TypeError(f"expected {expected}, found {type(value).__name__} {value!r:.60}")
            return inner(value, kind)

        return hook

    return make


def _converter(*, forbid_extra_keys: bool) -> Converter:
    converter = Converter(forbid_extra_keys=forbid_extra_keys)
    for kind in (bool, int, str):
        converter.register_structure_hook(kind, _exact(kind))
    converter.register_structure_hook(float, _finite)
    # A record that is about to be written still holds its tuples. A later hook wins: a list is a sequence too.
    for predicate, shape in (
        (attrs.has, _shaped("an object", (dict,), lambda cls, own: own.gen_structure_attrs_fromdict(cls))),
        (cols.is_mapping, _shaped("an object", (dict,), cols.mapping_structure_factory)),
        (cols.is_sequence, _shaped("a list", (list, tuple), cols.homogenous_tuple_structure_factory)),
        (cols.is_mutable_sequence, _shaped("a list", (list, tuple), cols.list_structure_factory)),
    ):
        converter.register_structure_hook_factory(predicate, shape)
    configure_union_passthrough(str | bool | int | float | None, converter)  # such as `float | Literal["auto"]`
    return converter


_STRICT = _converter(forbid_extra_keys=True)
_TOLERANT = _converter(forbid_extra_keys=False)


def _keys(cls: type) -> list[str]:
    """The fields' names in JSON; `Annotated[..., cattrs.override(rename=...)]` gives a field another than its own."""
    notes = {field.name: getattr(field.type, "__metadata__", ()) for field in attrs.fields(cls)}
    return [next((n.rename for n in found if getattr(n, "rename", None)), name) for name, found in notes.items()]


def _describe(error: BaseException, _: type | None) -> str:
    # cattrs' own formatter drops the text of an attrs validator.
    if isinstance(error, KeyError):
        return f"required field {error.args[0]!r} is missing"
    if isinstance(error, ForbiddenExtraKeysError):
        keys = _keys(error.cl)
        near = {name: difflib.get_close_matches(name, keys, n=1) for name in sorted(error.extra_fields)}
        hints = (f"{name!r}{f' (did you mean {found[0]!r}?)' if found else ''}" for name, found in near.items())
        return f"unknown field {', '.join(hints)}, allowed: {', '.join(keys)}"
    return str(error) or type(error).__name__


def structure(value: Any, cls: type[T], *, source: str = "value", strict: bool = True) -> T:
    """Build a `cls` from JSON values; `strict` refuses unknown keys.

    Raises:
        InvalidArtifact: with one line per wrong field, each naming its path, such as `metrics.history[3]`.
    """
    try:
        return (_STRICT if strict else _TOLERANT).structure(value, cls)
    except Exception as error:
        faults = []
        for text in transform_error(error, path="", format_exception=_describe):
            what, _, where = text.rpartition(" @ ")
            faults.append(f"{where.lstrip('.') or 'top level'}: {what}")
        raise InvalidArtifact(source, tuple(faults)) from error


def unstructure(record: Any) -> Any:
    """JSON values of a record: dicts, lists, and scalars."""
    return _STRICT.unstructure(record) if attrs.has(type(record)) else record
