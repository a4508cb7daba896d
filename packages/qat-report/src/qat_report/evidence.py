"""What lies behind a summary: the lines of its training run, the references and the correction, by their files.

A file is used only where it is the one that the summary was made from, by its SHA-256: a page must not set numbers of
today beside numbers of yesterday. What is not there is no error, since summaries are made to travel alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

import qat_artifacts
from qat_report.epochs import EpochView, read_epochs
from qat_report.numbers import count
from qat_report.summary import RunSummary
from qat_report.views import CorrectionView, EvaluationPoint, References, RunView

_NAMED = 6  # rows in one sentence


@attrs.frozen(kw_only=True)
class Evidence:
    """Of one summary. `final` is the evaluation behind its final value; `epochs` are shared by a run's rows."""

    epochs: tuple[EpochView, ...]
    references: References
    final: EvaluationPoint | None


@attrs.frozen(kw_only=True)
class Found:
    """Evidence by the path of its summary, and sentences on what is missing or is not the file it was."""

    by_summary: Mapping[Path, Evidence]
    gaps: tuple[str, ...]


@attrs.define
class _Reader:
    """Reads each run once: its rows share it."""

    runs: dict[Path, RunView] = attrs.field(factory=dict)
    epochs: dict[Path, tuple[EpochView, ...]] = attrs.field(factory=dict)
    hashes: dict[Path, str] = attrs.field(factory=dict)

    def state(self, path: Path, recorded: str | None) -> str:
        """'missing', 'changed', or '' for the file that was recorded."""
        if path not in self.hashes:
            self.hashes[path] = qat_artifacts.sha256_file(path) if path.is_file() else ""
        found = self.hashes[path]
        return "missing" if not found else "" if found == recorded else "changed"

    def read(self, run_json: Path, metrics: Path, qc_json: Path | None, summary: RunSummary) -> Evidence:
        if run_json not in self.runs:
            self.runs[run_json] = qat_artifacts.read_view(run_json, RunView)
        if metrics not in self.epochs:
            self.epochs[metrics] = read_epochs(metrics)
        epochs = self.epochs[metrics]
        if qc_json is not None:
            final: EvaluationPoint | None = qat_artifacts.read_view(qc_json, CorrectionView).after
        else:
            final = epochs[-1].point("ema" if summary.method.ema.enabled else "raw") if epochs else None
        return Evidence(epochs=epochs, references=self.runs[run_json].references, final=final)


def find_evidence(summaries: Iterable[tuple[Path, RunSummary]]) -> Found:
    """Read what lies behind summaries, as far as it is there and unchanged.

    Raises:
        ReportError, ArtifactError: a file with the recorded hash cannot be read.
    """
    reader = _Reader()
    found: dict[Path, Evidence] = {}
    gaps: dict[str, list[str]] = {"missing": [], "changed": []}
    for path, summary in summaries:
        recorded = {ref.path: ref.sha256 for ref in qat_artifacts.read_header(path).inputs}
        files = summary.artifacts
        names = [files.run_json, files.metrics, *([files.qc_json] if files.qc_json else [])]
        if not {files.run_json, files.metrics} <= recorded.keys():
            continue  # written by hand, refused, or cut off before its first line: nothing is claimed to lie behind it
        places = [(path.parent / name).resolve() for name in names]
        states = [reader.state(place, recorded.get(name)) for place, name in zip(places, names, strict=True)]
        if worst := next((state for state in ("changed", "missing") if state in states), None):
            gaps[worst].append(summary.run_id)
            continue
        run_json, metrics, *qc = places
        found[path] = reader.read(run_json, metrics, qc[0] if qc else None, summary)
    return Found(by_summary=found, gaps=tuple(_gap(state, rows) for state, rows in gaps.items() if rows))


def _gap(state: str, rows: Sequence[str]) -> str:
    why = {
        "missing": "lie here without the files they were made from",
        "changed": "were made from files that have changed since",
    }[state]
    named = ", ".join(rows[:_NAMED]) + (f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")
    return f"{count(len(rows), 'row')} {why}; their classes and oscillation over time are left out: {named}"
