"""Policy and run summaries in, decision with reasons out.

A policy names cells (variant and method) that must be stable over seeds before a costly run may start. `decide` is
pure; `read_policy`, `find_summaries` and `read_summaries` get its arguments from files.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qat_gate.deciding import decide
    from qat_gate.decision import Criterion, Decision, Reason
    from qat_gate.errors import EvidenceError, GateError, PolicyError
    from qat_gate.policy import Policy, read_policy
    from qat_gate.reading import find_summaries, read_summaries
    from qat_gate.request import Plan, PlannedCell, Request
    from qat_gate.summaries import RunSummary
    from qat_gate.text import render
    from qat_gate.verifying import Verification, verify

__all__ = [
    "Criterion",
    "Decision",
    "EvidenceError",
    "GateError",
    "Plan",
    "PlannedCell",
    "Policy",
    "PolicyError",
    "Reason",
    "Request",
    "RunSummary",
    "Verification",
    "decide",
    "find_summaries",
    "read_policy",
    "read_summaries",
    "render",
    "verify",
]
_HOMES = {
    "Criterion": "decision",
    "Decision": "decision",
    "EvidenceError": "errors",
    "GateError": "errors",
    "Plan": "request",
    "PlannedCell": "request",
    "Policy": "policy",
    "PolicyError": "errors",
    "Reason": "decision",
    "Request": "request",
    "RunSummary": "summaries",
    "Verification": "verifying",
    "decide": "deciding",
    "find_summaries": "reading",
    "read_policy": "policy",
    "read_summaries": "reading",
    "render": "text",
    "verify": "verifying",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for: `qat-gate --help` builds no record."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found
