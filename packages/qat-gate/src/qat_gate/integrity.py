"""Rule 1's question: does what a summary states follow from the history it holds?"""

from qat_gate.comparability import METHOD_MAY_SET
from qat_gate.judging import derive_findings, shown_not_collapsed
from qat_gate.summaries import RunSummary


def contradictions(run: RunSummary) -> tuple[str, ...]:
    """What the summary states against its own history, one clause each; empty where everything agrees.

    Best is the highest value of the history, final its last value, of whatever stage. The findings are derived again;
    the class is the worst of them; only a stable run is a success.
    """
    found = []
    epochs = [point.epoch for point in run.metrics.history]
    if epochs != sorted(set(epochs)):
        found.append(f"the epochs of its history do not increase: {epochs}")
    values = [point.value for point in run.metrics.history]
    if outside := [value for value in values if value is not None and not 0.0 <= value <= 1.0]:
        found.append(f"its history holds values outside [0, 1]: {outside}")
    if unsettable := sorted(set(run.method.sets) - set(METHOD_MAY_SET)):
        found.append(f"its method sets {', '.join(unsettable)}, which no method may")
    best = max((value for value in values if value is not None), default=None)
    final = values[-1] if values else None
    if run.metrics.best_value != best:
        found.append(f"best_value is {run.metrics.best_value}, its history says {best}")
    elif best is not None and best not in [p.value for p in run.metrics.history if p.epoch == run.metrics.best_epoch]:
        found.append(f"best_epoch is {run.metrics.best_epoch}, its history has {best} elsewhere")
    if run.metrics.final_value != final:
        found.append(f"final_value is {run.metrics.final_value}, its history says {final}")
    return (*found, *_misjudged(run))


def _misjudged(run: RunSummary) -> list[str]:
    if run.status == "refused":
        return []  # it never ran
    found = []
    stated, derived = run.stability.run_class, derive_findings(run)
    if run.stability.findings != derived:
        found.append(f"its findings are {_listed(run.stability.findings)}, its history shows {_listed(derived)}")
    worst = derived[0] if derived else "stable"
    expected = run.status if run.status == "incomplete" else worst
    if stated != expected:
        found.append(f"its class is {stated}, its history and status say {expected}")
    if (run.status == "completed-success") != (stated == "stable"):
        found.append(f"its status is {run.status}, its class {stated}")
    collapsed = run.status == "incomplete" or not shown_not_collapsed(run)
    if run.stability.collapsed != collapsed:
        found.append(f"collapsed is {run.stability.collapsed}, its history and status say {collapsed}")
    return found


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
