"""Summaries in, one comparison out: comparison.json, summary.md, index.html."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

import qat_artifacts
from qat_report.building import build_comparison
from qat_report.comparison import Choice, Comparison, read_gate
from qat_report.comparison_page import comparison_page
from qat_report.contents import Contents
from qat_report.errors import RequestError
from qat_report.evidence import find_evidence
from qat_report.exports import read_exports
from qat_report.finding import EXPORT_FILE, Located, choose, expand, files_below, read_summaries, relative
from qat_report.grouping import Entry
from qat_report.html import comparison_html
from qat_report.numbers import count
from qat_report.run_page import run_page
from qat_report.summary import PAGE_FILE, SUMMARY_FILE, RunSummary

COMPARISON_FILE = "comparison.json"
HTML_FILE = "index.html"


@attrs.frozen(kw_only=True)
class Assembled:
    """A comparison that is not written yet: its entries in the order of its rows, and the files it is made from."""

    comparison: Comparison
    entries: tuple[Entry, ...]
    inputs: tuple[Path, ...]


def compare(
    sources: Sequence[Path],
    *,
    out: Path,
    gate: Path | None = None,
    exports: Sequence[Path] = (),
    variants: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> Comparison:
    """Compare run summaries and write summary.md, index.html and comparison.json into `out`.

    With a gate, the decision enters the comparison and the decision line of the summary.md beside each summary.

    Args:
        sources: summaries, folders searched with all below, and patterns; see `finding.find_summaries`.
        out: folder to write to; made if absent.
        gate: gate.json.
        exports: export.json files, or folders with them, beside those found below `sources`.
        variants: compare these alone; none given: all.
        methods: likewise.
        seeds: likewise.

    Raises:
        RequestError: `out` is the folder of a single run's summary, or nothing is left of what was asked for.
        ReportError: no summary, two summaries of one run id, or two comparable runs of one method and seed.
        ArtifactError: a file is no valid artifact of its schema.
    """
    if (out / SUMMARY_FILE).is_file():
        raise RequestError(f"{out}: a run's own summary.md lies here and would be replaced; choose another folder")
    chosen, choice = choose(read_summaries(sources), variants=variants, methods=methods, seeds=seeds)
    assembled = assemble(chosen, out=out, gate=gate, exports=_exports([*sources, *exports]), choice=choice)
    comparison = assembled.comparison
    contents = Contents.of(comparison, assembled.entries, find_evidence([(i.path, i.summary) for i in chosen]), out=out)
    pages = {PAGE_FILE: comparison_page(contents), HTML_FILE: comparison_html(contents)}
    comparison = attrs.evolve(comparison, pages={name: _sha256(text) for name, text in pages.items()})
    for name, text in pages.items():
        qat_artifacts.write_text(out / name, text)
    qat_artifacts.write(out / COMPARISON_FILE, comparison, inputs=assembled.inputs)
    if comparison.yolo10m_allowed:
        for item in chosen:
            page = (
                item.path.parent / PAGE_FILE
            )  # not the name the summary gives: that is input, and could point anywhere
            if page.is_file():
                qat_artifacts.write_text(page, run_page(item.summary, gate=comparison.yolo10m_allowed))
    return comparison


def assemble(
    found: Sequence[Located], *, out: Path, gate: Path | None, exports: Sequence[Path], choice: Choice | None
) -> Assembled:
    """The comparison of these summaries as it stands in a folder `out`, without the hashes of its pages.

    Raises:
        ReportError, ArtifactError: as `compare`.
    """
    entries = [Entry(summary=item.summary, path=relative(item.path, out)) for item in found]
    files = {relative(item.path, out): item.path for item in found}
    decided = _decided(gate, files) if gate else {}
    comparison, ordered = build_comparison(
        entries, gate=read_gate(gate, out) if gate else None, decided=[p for p, seen in decided.items() if seen]
    )
    exported = read_exports(exports, ordered, out=out)
    notes = [*comparison.notes, *_left_out(choice, len(found)), *exported.notes]
    notes += _other_evidence(gate, files.values()) if gate else []
    comparison = attrs.evolve(comparison, notes=tuple(notes), exports=exported.rows, choice=choice)
    inputs = (*(files[entry.path] for entry in ordered), *([gate] if gate else []), *exported.files)
    return Assembled(comparison=comparison, entries=ordered, inputs=inputs)


def _exports(sources: Sequence[Path]) -> list[Path]:
    """Every export.json below; one that was named is one, whatever it is called, a summary is none."""
    places = [place for source in sources for place in expand(source)]
    found = {
        path.resolve(): path
        for place in places
        for path in files_below(place, EXPORT_FILE)
        if path.name != SUMMARY_FILE
    }
    return list(found.values())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _decided(gate: Path, files: Mapping[str, Path]) -> dict[str, bool]:
    """Of each file, whether the gate decided on it as it is now."""
    seen = {ref.sha256 for ref in qat_artifacts.read_header(gate).inputs}
    return {place: qat_artifacts.sha256_file(path) in seen for place, path in files.items()}


def _left_out(choice: Choice | None, kept: int) -> list[str]:
    if choice is None:
        return []
    asked = {"variant": choice.variants, "method": choice.methods, "seed": choice.seeds}
    text = "; ".join(f"{key} {', '.join(map(str, values))}" for key, values in asked.items() if values)
    return [f"compared on request: {text}; {count(choice.left_out, 'summary file')} beside these {kept} left out"]


def _other_evidence(gate: Path, files: Iterable[Path]) -> list[str]:
    """A gate decided on files that have changed since, or on others, says nothing about these."""
    decided = {ref.sha256 for ref in qat_artifacts.read_header(gate).inputs if ref.schema == RunSummary.SCHEMA}
    unseen = decided - {qat_artifacts.sha256_file(path) for path in files}
    if not unseen:
        return []
    return [f"the gate decision rests on {count(len(unseen), 'summary file')} that this comparison does not hold"]
