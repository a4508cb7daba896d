"""The decision a gate comes to: schema qat-gate/decision."""

from typing import ClassVar, Literal

import attrs

from qat_gate.summaries import Fault

ReasonKind = Literal[
    Fault,
    "missing",
    "incomplete",
    "not-comparable",
    "insufficient-evidence",
    "below-floor",
    "stale",
    "tampered",
    "unverifiable",
]


@attrs.frozen(kw_only=True)
class Reason:
    """Why a rule is not met, and the run ids it speaks of (none where a run is missing)."""

    kind: ReasonKind
    text: str
    runs: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Criterion:
    """One rule, applied.

    `text` is the rule, `why` the policy's reason for it, `runs` the run ids it looked at, `satisfied_by` what would
    meet it (None where it is met).
    """

    id: str
    text: str
    why: str
    met: bool
    runs: tuple[str, ...]
    reasons: tuple[Reason, ...]
    satisfied_by: str | None


@attrs.frozen(kw_only=True)
class LayerType:
    """How many quantized layers of one structural type each variant has."""

    type: str
    counts: dict[str, int]


@attrs.frozen(kw_only=True)
class Settings:
    """What the evidence, or the run asked for, is about. Several values mean that the runs differ."""

    profiles: tuple[str, ...]
    fingerprints: tuple[str, ...]
    imgsz: tuple[int, ...]
    quantization: tuple[str, ...]
    code: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Decision:
    """gate.json.

    `evidence` and `requested` name both sides of the decision (None: no request was given). `structure` counts layer
    types. `override` is the reason somebody gave for starting against a NO-GO; it never changes `passed`. `admitted`
    are incomplete runs that the policy counts; `notes` hold what else a reader should know.
    """

    SCHEMA: ClassVar[str] = "qat-gate/decision"
    VERSION: ClassVar[str] = "1.0"

    gate_name: str
    passed: bool
    reason: str
    override: str | None
    criteria: tuple[Criterion, ...]
    evidence: Settings
    requested: Settings | None
    structure: tuple[LayerType, ...]
    admitted: tuple[str, ...]
    notes: tuple[str, ...]
