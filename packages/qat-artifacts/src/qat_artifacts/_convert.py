"""Strict conversion between JSON values and attrs records.

cattrs coerces by default (0.9 to 0, "false" to True); an artifact that needs coercion is a wrong artifact.
"""

import math
from typing import Any, TypeVar

import attrs
from cattrs import Converter, transform_error
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


def _converter(*, forbid_extra_keys: bool) -> Converter:
    converter = Converter(forbid_extra_keys=forbid_extra_keys)
    for kind in (bool, int, str):
        converter.register_structure_hook(kind, _exact(kind))
    converter.register_structure_hook(float, _finite)
    configure_union_passthrough(str | bool | int | float | None, converter)  # such as `float | Literal["auto"]`
    return converter


_STRICT = _converter(forbid_extra_keys=True)
_TOLERANT = _converter(forbid_extra_keys=False)


def _describe(error: BaseException, _: type | None) -> str:
    # cattrs' own formatter drops the text of an attrs validator.
    if isinstance(error, KeyError):
        return f"required field {error.args[0]!r} is missing"
    if isinstance(error, ForbiddenExtraKeysError):
        return "unknown field " + ", ".join(repr(name) for name in sorted(error.extra_fields))
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
