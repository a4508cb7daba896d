"""Rule 1's question: does what a summary states follow from the history it holds?"""

from qat_gate.summaries import RunSummary

COLLAPSE_RATIO = 0.5  # a final value below this share of the best is a collapse


def contradictions(run: RunSummary) -> tuple[str, ...]:
    """What the summary states against its own history, one clause each; empty where everything agrees.

    Best is the highest value of the history, final its last value, of whatever stage. A final below
    0.5 x best, or a best of 0, is a finding; the class is the worst finding; only a stable run is a success.
    """
    found = []
    epochs = [point.epoch for point in run.metrics.history]
    if epochs != sorted(set(epochs)):
        found.append(f"the epochs of its history do not increase: {epochs}")
    values = [point.value for point in run.metrics.history]
    best = max((value for value in values if value is not None), default=None)
    final = values[-1] if values else None
    if run.metrics.best_value != best:
        found.append(f"best_value is {run.metrics.best_value}, its history says {best}")
    elif best is not None and best not in [p.value for p in run.metrics.history if p.epoch == run.metrics.best_epoch]:
        found.append(f"best_epoch is {run.metrics.best_epoch}, its history has {best} elsewhere")
    if run.metrics.final_value != final:
        found.append(f"final_value is {run.metrics.final_value}, its history says {final}")
    return (*found, *_misjudged(run, best, final))


def _misjudged(run: RunSummary, best: float | None, final: float | None) -> list[str]:
    found = []
    stated = run.stability.run_class
    worst = run.stability.findings[0] if run.stability.findings else "stable"
    expected = run.status if run.status in ("incomplete", "refused") else worst
    if stated != expected:
        found.append(f"its class is {stated}, its findings and status say {expected}")
    if (run.status == "completed-success") != (stated == "stable"):
        found.append(f"its status is {run.status}, its class {stated}")
    if stated == "stable" and run.stability.collapsed:
        found.append("its class is stable, and it is marked as collapsed")
    sound = best is not None and final is not None and best > 0.0 and final >= COLLAPSE_RATIO * best
    if worst == "stable" and not sound and run.status != "refused":
        found.append(f"nothing is found against it, with best {best} and final {final}")
    return found
