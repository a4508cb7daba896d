"""Which runs may be set side by side. All keys are named here and nowhere else.

Repetitions (same variant and method) agree in REPETITION. Methods of one variant agree in the same keys, except those
that the method's own definition sets (`method.sets` of its summary). Variants agree in ACROSS.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import attrs

import qat_artifacts
from qat_report.records import Dataset, Model, Quantization, Training

Setting = str | int | float | bool | None
Settings = Mapping[str, Setting]

METHOD_MAY_SET = (
    "training.epochs",
    "training.effective_batch",
    "training.amp",
    "training.interventions",
    "quantization",
)

_DATA = ("dataset.fingerprint", "dataset.val_fingerprint", "dataset.selection.val")
REPETITION = (
    *_DATA, "model.imgsz", "model.checkpoint_sha256", "training.epochs", "training.effective_batch", "training.amp",
    "training.interventions", "training.ranks", "evaluation", "quantization", "code",
)  # fmt: skip
ACROSS = (*_DATA, "dataset.classes", "model.imgsz", "evaluation", "quantization")
_NOT_ACROSS = ("quantization.layers",)  # another variant has other layers; the policy is what must agree


class Compared(Protocol):
    """The blocks of a summary that decide comparability."""

    @property
    def model(self) -> Model: ...  # noqa: D102 - a block of the same name
    @property
    def quantization(self) -> Quantization: ...  # noqa: D102 - as above
    @property
    def dataset(self) -> Dataset: ...  # noqa: D102 - as above
    @property
    def training(self) -> Training: ...  # noqa: D102 - as above
    @property
    def evaluation(self) -> Any: ...  # noqa: D102 - as above
    @property
    def versions(self) -> dict[str, str]: ...  # noqa: D102 - as above


@attrs.frozen(kw_only=True)
class Difference:
    """One key in which a run differs from its reference."""

    key: str
    found: Setting
    expected: Setting

    def __str__(self) -> str:
        return f"{self.key} is {shorten(self.found)}, not {shorten(self.expected)}"


def settings(run: Compared) -> dict[str, Setting]:
    """Everything that comparability looks at, as dotted keys with scalar values.

    Lists are represented by a hash. `code.*` is the part of a version that a comparable run must share: the major, or
    the minor too while the major is 0.
    """
    found: dict[str, Setting] = {
        "dataset.fingerprint": run.dataset.fingerprint,
        "dataset.val_fingerprint": run.dataset.val_fingerprint,
        "dataset.selection.val": run.dataset.selection.val,
        "dataset.classes": _digest(run.dataset.classes),
        "model.imgsz": run.model.imgsz,
        "model.checkpoint_sha256": run.model.checkpoint_sha256,
        "training.epochs": run.training.epochs,
        "training.effective_batch": run.training.effective_batch,
        "training.amp": run.training.amp,
        "code.qat-train": _code_version(run.versions.get("qat-train")),
    }
    if (ranks := run.training.device.count(",") + 1) > 1:
        found["training.ranks"] = ranks  # devices: the batch norms of each see their share of a batch
    evaluation = {k: v for k, v in qat_artifacts.unstructure(run.evaluation).items() if k != "weights_sha256"}
    quantization = qat_artifacts.unstructure(run.quantization)
    found |= _leaves("evaluation", evaluation) | _leaves("quantization", quantization)
    found |= _leaves(
        "training.interventions", run.training.interventions
    )  # one that is absent differs from every strength
    return found


def _leaves(block: str, values: Mapping[str, Any]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _leaves(f"{block}.{name}", value)
        else:
            found[f"{block}.{name}"] = value if isinstance(value, Setting) else _digest(value)
    return found


def differences(
    found: Settings, expected: Settings, keys: Collection[str] = REPETITION, *, exempt: Collection[str] = ()
) -> tuple[Difference, ...]:
    """Keys of `keys`, or below them, in which two runs differ; keys at or below `exempt` are left out."""
    if found == expected:
        return ()
    names = sorted(name for name in found.keys() | expected.keys() if _below(name, keys) and not _below(name, exempt))
    return tuple(
        Difference(key=name, found=found.get(name), expected=expected.get(name))
        for name in names
        if found.get(name) != expected.get(name)
    )


def differences_across(found: Settings, expected: Settings) -> tuple[Difference, ...]:
    """Differences between two variants that keep their numbers from being set side by side."""
    return differences(found, expected, ACROSS, exempt=_NOT_ACROSS)


def _below(name: str, keys: Collection[str]) -> bool:
    return any(name == key or name.startswith(f"{key}.") for key in keys)


def _digest(value: Any) -> str:
    return hashlib.sha256(qat_artifacts.dumps(value).encode()).hexdigest()


def _code_version(text: str | None) -> str | None:
    match = re.match(r"(\d+)\.(\d+)", text or "")
    if match is None:
        return text
    return f"0.{match[2]}" if match[1] == "0" else match[1]


def shorten(value: Setting) -> str:
    """A setting for people: hashes cut to 12 digits, None as "none"."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return value[:12] if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) else str(value)
