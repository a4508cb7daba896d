"""Policy and run summaries in, decision with reasons out.

A policy names cells (variant and method) that must be stable over seeds before a costly run may start. `decide` is
pure; `read_policy`, `find_summaries` and `read_summaries` get its arguments from files.
"""

from qat_gate.decide import decide
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
