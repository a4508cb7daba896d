"""How a rule's outcome is put together."""

from collections.abc import Iterable

from qat_gate.decision import Criterion, Reason
from qat_gate.summaries import RunSummary


def run_ids(runs: Iterable[RunSummary]) -> tuple[str, ...]:
    """Run ids, in the order given."""
    return tuple(run.run_id for run in runs)


def criterion(
    name: str, *, text: str, why: str, runs: Iterable[RunSummary], reasons: Iterable[Reason], remedy: str
) -> Criterion:
    """A rule is met where it looked at a run and found no reason against it."""
    looked_at, found = run_ids(runs), tuple(reasons)
    if not looked_at and not found:
        found = (Reason(kind="missing", text="there is no run to look at", runs=()),)
    return Criterion(
        id=name,
        text=text,
        why=why,
        met=not found,
        runs=looked_at,
        reasons=found,
        satisfied_by=remedy if found else None,
    )
