"""The policy of a gate: one TOML file, one table per rule, each with the reason for the rule."""

from pathlib import Path
from typing import Any

import attrs
import tomli
from attrs import validators

import qat_artifacts
from qat_gate.errors import PolicyError
from qat_gate.request import Profile
from qat_gate.summaries import StabilityClass


def _text(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not value.strip():
        raise ValueError(f"{attribute.name} must not be empty")


def _names(_: object, attribute: "attrs.Attribute[tuple[str, ...]]", value: tuple[str, ...]) -> None:
    if not value or len(set(value)) < len(value):
        raise ValueError(f"{attribute.name} must hold one name or more, each once, found {list(value)}")


def _fraction(_: object, attribute: "attrs.Attribute[float | None]", value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise ValueError(f"{attribute.name} must lie in [0, 1], found {value}")


@attrs.frozen(kw_only=True)
class IntegrityRule:
    """Rule 1: what a summary states follows from its history, and the history from the files it was made from.

    `inputs_required`: a run whose inputs are not there is no evidence; otherwise it counts, and a note says so.
    """

    reason: str = attrs.field(validator=_text)
    inputs_required: bool


@attrs.frozen(kw_only=True)
class SeedsRule:
    """Rule 2: how many independent runs each required cell needs."""

    reason: str = attrs.field(validator=_text)
    min_seeds: int = attrs.field(validator=validators.ge(1))
    recommended_seeds: int = attrs.field()

    @recommended_seeds.validator
    def _not_below_the_minimum(self, _: Any, value: int) -> None:
        if value < self.min_seeds:
            raise ValueError(f"recommended_seeds must be at least min_seeds, {self.min_seeds}, found {value}")


@attrs.frozen(kw_only=True)
class StabilityRule:
    """Rule 3: which stability classes a required cell may show."""

    reason: str = attrs.field(validator=_text)
    allowed_classes: tuple[StabilityClass, ...] = attrs.field(validator=_names)

    @allowed_classes.validator
    def _stable_is_allowed(self, _: Any, value: tuple[str, ...]) -> None:
        if "stable" not in value:
            raise ValueError(f"allowed_classes must hold 'stable', found {list(value)}")


@attrs.frozen(kw_only=True)
class ComparisonRule:
    """Rule 4: methods that must have run, whatever their outcome, for every required variant and seed."""

    reason: str = attrs.field(validator=_text)
    methods: tuple[str, ...] = attrs.field(validator=_names)


@attrs.frozen(kw_only=True)
class ComparabilityRule:
    """Rule 5: all runs that count share data, evaluation, quantization and schedule."""

    reason: str = attrs.field(validator=_text)
    enabled: bool


@attrs.frozen(kw_only=True)
class FitnessRule:
    """Rule 6: the evidence is about the run asked for, and was made under `min_profile` or a larger one."""

    reason: str = attrs.field(validator=_text)
    min_profile: Profile


@attrs.frozen(kw_only=True)
class FloorsRule:
    """Rule 7, optional: lowest final value, as a fraction of FP32 and as a drop below the same seed's baseline."""

    reason: str = attrs.field(validator=_text)
    min_fraction_of_fp32: float | None = attrs.field(default=None, validator=_fraction)
    max_drop_below_baseline: float | None = attrs.field(default=None, validator=_fraction)

    def __attrs_post_init__(self) -> None:
        if self.min_fraction_of_fp32 is None and self.max_drop_below_baseline is None:
            raise ValueError("set min_fraction_of_fp32 or max_drop_below_baseline, or drop the table")


@attrs.frozen(kw_only=True)
class Policy:
    """A whole policy.

    A required cell is one of `variants` with `method`. `include` names incomplete runs that may count all the same.
    """

    gate_name: str = attrs.field(validator=_text)
    variants: tuple[str, ...] = attrs.field(validator=_names)
    method: str = attrs.field(validator=_text)
    include: tuple[str, ...] = ()
    integrity: IntegrityRule
    seeds: SeedsRule
    stability: StabilityRule
    comparison: ComparisonRule
    comparability: ComparabilityRule
    fitness: FitnessRule
    floors: FloorsRule | None = None

    def __attrs_post_init__(self) -> None:
        if self.method in self.comparison.methods:
            raise ValueError(f"comparison.methods must not hold the required method {self.method!r}")
        needs_baseline = self.floors is not None and self.floors.max_drop_below_baseline is not None
        if needs_baseline and "baseline" not in self.comparison.methods:
            raise ValueError("floors.max_drop_below_baseline needs 'baseline' in comparison.methods")

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method whose runs the gate looks at."""
        return (self.method, *self.comparison.methods)


def read_policy(path: Path) -> Policy:
    """Read and check a policy.

    Raises:
        PolicyError: unreadable, no TOML, or wrong keys; all faults in one text, each with its key.
    """
    try:
        raw = tomli.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or nested too deeply
        raise PolicyError(f"{path}: {error}") from error
    try:
        return qat_artifacts.structure(raw, Policy, source=str(path))
    except qat_artifacts.InvalidArtifact as error:
        raise PolicyError(str(error)) from error
