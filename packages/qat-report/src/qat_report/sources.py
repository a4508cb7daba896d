"""A training run and its correction as read from their files, and whether they fit the method asked for."""

from collections.abc import Sequence
from pathlib import Path

import attrs

import qat_artifacts
from qat_report.epochs import EpochView, read_epochs
from qat_report.errors import ReportError
from qat_report.methods import MethodRow
from qat_report.views import CorrectionView, EvaluationPoint, RunView


@attrs.frozen(kw_only=True)
class Source:
    """One run. `correction` and `corrector` (such as "qat-qc 0.2.0") are None where no qc.json was given."""

    run_json: Path
    metrics: Path
    run: RunView
    epochs: tuple[EpochView, ...]
    qc_json: Path | None
    correction: CorrectionView | None
    corrector: str | None

    @property
    def inputs(self) -> list[Path]:
        """The files that were read."""
        return [p for p in (self.run_json, self.metrics, self.qc_json) if p is not None and p.is_file()]

    @property
    def after(self) -> EvaluationPoint | None:
        """The evaluation after the correction."""
        return self.correction.after if self.correction else None

    @property
    def ended_early(self) -> bool:
        """Whether the run has no final weights to correct: it was cut off, or it diverged."""
        return self.run.status != "completed" or self.run.files.checkpoint is None


def read_source(folder: Path, qc: Path | None) -> Source:
    """Read a run's folder, and the qc.json or the folder with it.

    Raises:
        ReportError: metrics.jsonl is not the file that run.json was written with.
        ArtifactError: a file is missing or invalid.
    """
    run_json = folder / "run.json"
    run = qat_artifacts.read_view(run_json, RunView)
    metrics = folder / run.files.metrics
    # A run that was cut off in its first epoch has no metrics yet.
    epochs = read_epochs(metrics) if run.status == "completed" or metrics.is_file() else ()
    recorded = {ref.path: ref.sha256 for ref in qat_artifacts.read_header(run_json).inputs}.get(run.files.metrics)
    if recorded is not None and recorded != qat_artifacts.sha256_file(metrics):
        raise ReportError(f"{metrics}: not the file that {run_json} was written with; its SHA-256 differs")
    qc_json = qc / "qc.json" if qc is not None and qc.is_dir() else qc
    return Source(
        run_json=run_json,
        metrics=metrics,
        run=run,
        epochs=epochs,
        qc_json=qc_json,
        correction=qat_artifacts.read_view(qc_json, CorrectionView) if qc_json else None,
        corrector=qat_artifacts.read_header(qc_json).created_by if qc_json else None,
    )


def check_source(source: Source, row: MethodRow, *, uncorrected: bool = False) -> None:
    """Whether run and correction can give the method's row; `uncorrected`: although its correction failed.

    Raises:
        ReportError: another series, another run's or another method's correction, or epochs are missing.
    """
    run = source.run
    if row.series not in run.series:
        held = ", ".join(run.series) or "none"
        raise ReportError(
            f"{source.run_json}: method {row.name!r} reports the {row.series} series, this run validated {held}"
        )
    if source.correction is not None:
        _check_correction(source, source.correction, row)
    if source.ended_early:
        return
    if row.corrected and source.correction is None and not uncorrected:
        raise ReportError(f"{source.run_json}: method {row.name!r} needs a correction of this run; add --qc")
    if len(source.epochs) != run.training.epochs:
        raise ReportError(
            f"{source.metrics}: {len(source.epochs)} of {run.training.epochs} epochs, "
            f"though {source.run_json} says completed"
        )


def _check_correction(source: Source, qc: CorrectionView, row: MethodRow) -> None:
    if qc.run_id != source.run.run_id:
        raise ReportError(
            f"{source.qc_json}: corrects run {qc.run_id!r}, not {source.run.run_id!r} of {source.run_json}"
        )
    if qc.weights != row.series:
        raise ReportError(
            f"{source.qc_json}: started from the {qc.weights} weights, method {row.name!r} reports {row.series}"
        )
    if row.stages is not None and qc.stages != row.stages:
        raise ReportError(
            f"{source.qc_json}: its stages are {_list(qc.stages)}, method {row.name!r} has {_list(row.stages)}"
        )
    if row.trained is not None and set(qc.trained) != set(row.trained):
        raise ReportError(
            f"{source.qc_json}: it trained {_list(qc.trained)}, method {row.name!r} trains {_list(row.trained)}"
        )


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
