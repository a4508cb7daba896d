"""Summaries in, one comparison out: comparison.json, summary.md, index.html."""

import os
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import attrs

import qat_artifacts
from qat_report import comparable
from qat_report.attribution import attribute
from qat_report.cells import build_cell, build_reference, left_out
from qat_report.comparison import Comparison, GateOutcome, Row, read_gate
from qat_report.errors import ReportError, RequestError
from qat_report.grouping import Entry, flag, order
from qat_report.html import comparison_html
from qat_report.markdown import comparison_page, run_page
from qat_report.numbers import count
from qat_report.summarizing import PAGE_FILE, SUMMARY_FILE
from qat_report.summary import RunSummary
from qat_report.verdict import chance_note, difference_notes, variant_verdict
from qat_report.wording import override_of

COMPARISON_FILE = "comparison.json"
HTML_FILE = "index.html"


def find_summaries(sources: Iterable[Path]) -> list[Path]:
    """Summary files: each source is one, or a folder searched with all below it. A file found twice counts once.

    Raises:
        ReportError: a source does not exist or holds no summary.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        paths = sorted(source.rglob(SUMMARY_FILE)) if source.is_dir() else [source]
        if not paths:
            raise ReportError(f"{source}: no {SUMMARY_FILE} in this folder or below; run `qat-report summarize` first")
        found |= {path.resolve(): path for path in paths}
    return list(found.values())


def compare(sources: Sequence[Path], *, out: Path, gate: Path | None = None) -> Comparison:
    """Compare run summaries and write comparison.json, summary.md and index.html into `out`.

    With a gate, the decision enters the comparison and the decision line of the summary.md beside each summary.

    Raises:
        RequestError: `out` is the folder of a single run's summary.
        ReportError: no summary, two summaries of one run id, or two comparable runs of one method and seed.
        ArtifactError: a file is no valid artifact of its schema.
    """
    if (out / SUMMARY_FILE).is_file():
        raise RequestError(f"{out}: a run's own summary.md lies here and would be replaced; choose another folder")
    files = find_summaries(sources)
    summaries = [(path, qat_artifacts.read(path, RunSummary)) for path in files]
    _refuse_duplicates(summaries)
    entries = [Entry(summary=summary, path=_relative(path, out)) for path, summary in summaries]
    outcome = read_gate(gate, out) if gate else None
    comparison, ordered = build_comparison(entries, gate=outcome)
    if gate:
        comparison = attrs.evolve(comparison, notes=(*comparison.notes, *_other_evidence(gate, files)))
    places = {_relative(path, out): path for path in files}
    inputs = [places[entry.path] for entry in ordered] + ([gate] if gate else [])
    qat_artifacts.write(out / COMPARISON_FILE, comparison, inputs=inputs)
    qat_artifacts.write_text(out / PAGE_FILE, comparison_page(comparison, ordered))
    qat_artifacts.write_text(out / HTML_FILE, comparison_html(comparison, ordered))
    if outcome:
        for path, summary in summaries:
            page = path.parent / PAGE_FILE  # not the name the summary gives: that is input, and could point anywhere
            if page.is_file():
                qat_artifacts.write_text(page, run_page(summary, gate=outcome))
    return comparison


def build_comparison(
    entries: Sequence[Entry], *, gate: GateOutcome | None = None
) -> tuple[Comparison, tuple[Entry, ...]]:
    """The comparison of summaries in memory, and the entries in the order of its rows, differences filled in.

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
        verdict += variant_verdict(own, reference)
        notes += [f"{entry.summary.run_id}: {text}" for entry in group for text in _notes(entry)]
        notes += reference_notes
    notes += chance_note(cells) + difference_notes(cells) + _across(groups) + _shared_trajectories(entries)
    comparison = Comparison(
        rows=tuple(rows),
        cells=tuple(cells),
        references=tuple(references),
        attribution=tuple(attributions),
        verdict=tuple(verdict),
        notes=tuple(notes),
        yolo10m_allowed=gate,
    )
    return comparison, tuple(entry for group in groups for entry in group)


def _relative(path: Path, out: Path) -> str:
    return Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()


def _refuse_duplicates(summaries: Sequence[tuple[Path, RunSummary]]) -> None:
    seen: dict[str, Path] = {}
    for path, summary in sorted(summaries, key=lambda item: item[0]):
        if summary.run_id in seen:
            raise ReportError(
                f"run id {summary.run_id!r} occurs twice: {seen[summary.run_id]} and {path}; leave one of them out"
            )
        seen[summary.run_id] = path


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
        found = comparable.differences_across(comparable.settings(other.summary), comparable.settings(first.summary))
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


def _other_evidence(gate: Path, files: Sequence[Path]) -> list[str]:
    """A gate decided on files that have changed since, or on others, says nothing about these."""
    decided = {ref.sha256 for ref in qat_artifacts.read_header(gate).inputs if ref.schema == RunSummary.SCHEMA}
    unseen = decided - {qat_artifacts.sha256_file(path) for path in files}
    if not unseen:
        return []
    return [f"the gate decision rests on {count(len(unseen), 'summary file')} that this comparison does not hold"]
