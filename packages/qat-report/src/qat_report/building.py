"""A comparison from summaries in memory: rows, cells, references, verdict and the rows each sentence rests on."""

from collections.abc import Collection, Sequence
from itertools import groupby

from qat_report import comparable
from qat_report.attribution import attribute
from qat_report.cells import build_cell, build_reference, left_out
from qat_report.claims import as_of_now, build_claims
from qat_report.comparison import Comparison, GateOutcome, Row
from qat_report.errors import ReportError
from qat_report.grouping import Entry, flag, order
from qat_report.numbers import count
from qat_report.verdict import chance_note, difference_notes, variant_verdict
from qat_report.wording import override_of


def build_comparison(
    entries: Sequence[Entry], *, gate: GateOutcome | None = None, decided: Collection[str] = ()
) -> tuple[Comparison, tuple[Entry, ...]]:
    """The comparison of summaries in memory, and the entries in the order of its rows, differences filled in.

    Args:
        entries: in any order.
        gate: a decision to carry.
        decided: paths of those entries that the gate decided on.

    Raises:
        ReportError: two comparable runs of one variant, method and seed.
    """
    groups = [flag(list(group)) for _, group in groupby(sorted(entries, key=order), key=lambda entry: entry.variant)]
    rows, cells, references, attributions, verdict, notes = [], [], [], [], [], []
    for group in groups:
        _refuse_repeated_seeds(group)
        usable = [entry for entry in group if not entry.differences]
        reference, reference_notes = build_reference(usable)
        own = [
            build_cell([entry for entry in group if entry.method == method], usable)
            for method in dict.fromkeys(entry.method for entry in group)
        ]
        references.append(reference)
        attributions += attribute(usable)
        cells += own
        rows += [_row(entry) for entry in group]
        verdict += variant_verdict(own)
        notes += [f"{entry.summary.run_id}: {text}" for entry in group for text in _notes(entry)]
        notes += reference_notes
    notes += chance_note(cells) + difference_notes(cells) + _across(groups) + _shared_trajectories(entries)
    ordered = tuple(entry for group in groups for entry in group)
    gate = as_of_now(gate, ordered, decided) if gate else None
    comparison = Comparison(
        rows=tuple(rows),
        cells=tuple(cells),
        references=tuple(references),
        attribution=tuple(attributions),
        verdict=tuple(verdict),
        notes=tuple(notes),
        yolo10m_allowed=gate,
        claims=tuple(build_claims(ordered, cells, verdict, gate=gate, decided=decided)),
    )
    return comparison, ordered


def _refuse_repeated_seeds(group: Sequence[Entry]) -> None:
    seen: dict[tuple[str, int], Entry] = {}
    for entry in group:
        if entry.differences:
            continue
        first = seen.setdefault((entry.method, entry.seed), entry)
        if first is not entry:
            raise ReportError(
                f"{entry.variant} {entry.method} seed {entry.seed} occurs twice: {first.path} and {entry.path}; "
                "a seed is one repetition, leave one of them out"
            )


def _notes(entry: Entry) -> list[str]:
    """Why a run is not in the mean, or is in it with a warning."""
    against = [f"STARTED AGAINST THE GATE: {text}"] if (text := override_of(entry.summary)) else []
    if entry.differences:
        return [*against, f"not comparable: {'; '.join(map(str, entry.differences))}"]
    return [*against, *left_out(entry)]


def _row(entry: Entry) -> Row:
    summary = entry.summary
    return Row(
        run_id=summary.run_id,
        trajectory_id=summary.trajectory_id,
        variant=summary.model.variant,
        method=entry.method,
        seed=entry.seed,
        status=summary.status,
        run_class=summary.stability.run_class,
        best_value=summary.metrics.best_value,
        best_epoch=summary.metrics.best_epoch,
        final_value=summary.metrics.final_value,
        collapsed=summary.stability.collapsed,
        comparable=not entry.differences,
        notes=tuple(_notes(entry)),
        summary=entry.path,
    )


def _across(groups: Sequence[Sequence[Entry]]) -> list[str]:
    usable = [next(entry for entry in group if not entry.differences) for group in groups]
    first = usable[0]
    notes = []
    for other in usable[1:]:
        found = comparable.differences_across(other.settings, first.settings)
        if found:
            texts = "; ".join(map(str, found))
            notes.append(f"{other.variant} and {first.variant} are not comparable with each other: {texts}")
    return notes


def _shared_trajectories(entries: Sequence[Entry]) -> list[str]:
    trajectories = {entry.summary.trajectory_id for entry in entries}
    if len(trajectories) == len(entries):
        return []
    return [
        f"{count(len(entries), 'row')} come from {count(len(trajectories), 'training run')}: rows that share a "
        "trajectory are paired, not independent; seeds are the repetitions"
    ]
