"""The decision a gate comes to: schema qat-gate/decision."""

from typing import ClassVar, Literal

import attrs

from qat_gate.summaries import Fault

ReasonKind = Literal[
    Fault, "missing", "incomplete", "not-comparable", "insufficient-evidence", "below-floor", "tampered"
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
class Decision:
    """gate.json. `admitted` are incomplete runs that the policy counts; `notes` hold what else a reader should know."""

    SCHEMA: ClassVar[str] = "qat-gate/decision"
    VERSION: ClassVar[str] = "1.0"

    gate_name: str
    passed: bool
    reason: str
    criteria: tuple[Criterion, ...]
    admitted: tuple[str, ...]
    notes: tuple[str, ...]
