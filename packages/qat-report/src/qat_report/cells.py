"""Numbers of one cell: a method of a variant over its seeds."""

from collections.abc import Sequence
from statistics import fmean, stdev

from qat_report.comparison import Cell, PairedDelta, Reference
from qat_report.grouping import Entry
from qat_report.numbers import difference, metric
from qat_report.paired import pair
from qat_report.summary import STOPPED, UNCORRECTED

# Runs of other classes ended with a number that is no result: near zero, frozen, or not the run's end.
COUNTED_CLASSES = frozenset({"stable", "recovered", "insufficient"})


def counted(entry: Entry) -> bool:
    """Whether the final value of a run enters means and differences."""
    return (
        not entry.differences
        and entry.summary.stability.run_class in COUNTED_CLASSES
        and entry.summary.metrics.final_value is not None
    )


def final(entry: Entry) -> float:
    """The final value of a counted run."""
    value = entry.summary.metrics.final_value
    assert value is not None
    return value


def left_out(entry: Entry) -> list[str]:
    """Sentences on a comparable run that is not counted, or is counted although its class is not stable."""
    found = entry.summary.stability.run_class
    if not counted(entry):
        error = entry.summary.error or ""
        return [f"left out of the means: {found}{f', {error}' if error.startswith((STOPPED, UNCORRECTED)) else ''}"]
    return [] if found == "stable" else [f"counted in the means although {found}"]


def build_cell(entries: Sequence[Entry], usable_of_variant: Sequence[Entry]) -> Cell:
    """The cell of all runs of one method, given the comparable runs of every method of its variant."""
    first = entries[0]
    usable = [entry for entry in entries if not entry.differences]
    numbers = [entry for entry in usable if counted(entry)]
    finals = [final(entry) for entry in numbers]
    ended = [entry for entry in usable if entry.summary.status not in ("incomplete", "refused")]
    ends = [entry.summary.metrics.final_value for entry in ended]
    classes = {str(entry.seed): entry.summary.stability.run_class for entry in usable}
    return Cell(
        variant=first.summary.model.variant,
        method=first.method,
        seeds=tuple(sorted({entry.seed for entry in entries})),
        counted_seeds=tuple(sorted(entry.seed for entry in numbers)),
        mean=fmean(finals) if finals else None,
        minimum=min(finals, default=None),
        maximum=max(finals, default=None),
        spread=max(finals) - min(finals) if len(finals) > 1 else None,
        std=stdev(finals) if len(finals) > 1 else None,
        worst=min((value for value in ends if value is not None), default=None),
        delta_fp32=_mean_delta(numbers, "fp32"),
        delta_ptq=_mean_delta(numbers, "ptq"),
        delta_baseline=(_paired(numbers, usable_of_variant, "baseline") if first.method != "baseline" else None),
        delta_ema=_paired(numbers, usable_of_variant, "ema") if first.method == "ema+qc" else None,
        agree=len(set(classes.values())) == 1 if len(classes) > 1 else None,
        classes=classes,
    )


def _mean_delta(entries: Sequence[Entry], reference: str) -> float | None:
    """Mean difference to each run's own reference; None unless every run has it."""
    deltas = [difference(final(entry), getattr(entry.summary.metrics, reference)) for entry in entries]
    known = [delta for delta in deltas if delta is not None]
    return fmean(known) if known and len(known) == len(deltas) else None


def _paired(entries: Sequence[Entry], usable: Sequence[Entry], method: str) -> PairedDelta | None:
    other = {entry.seed: final(entry) for entry in usable if entry.method == method and counted(entry)}
    differences = {entry.seed: final(entry) - other[entry.seed] for entry in entries if entry.seed in other}
    return pair(differences) if differences else None


def build_reference(usable: Sequence[Entry]) -> tuple[Reference, list[str]]:
    """FP32 and PTQ of a variant over its comparable trajectories, and a note where the trajectories disagree."""
    variant = usable[0].summary.model.variant
    runs = {entry.summary.trajectory_id: entry.summary.metrics for entry in usable}.values()
    notes, means = [], {}
    for name in ("fp32", "ptq"):
        values = [value for run in runs if (value := getattr(run, name)) is not None]
        means[name] = fmean(values) if values else None
        if len(set(values)) > 1:
            low, high = metric(min(values)), metric(max(values))
            notes.append(
                f"{variant}: the {name.upper()} reference differs between runs, {low} to {high}; its mean is shown"
            )
    return Reference(variant=variant, fp32=means["fp32"], ptq=means["ptq"]), notes
