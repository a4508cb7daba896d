"""From a training run (and its correction) to the summary of one method's row."""

import os
from collections.abc import Sequence
from pathlib import Path

import attrs

import qat_artifacts
from qat_report.errors import ReportError
from qat_report.markdown import run_page
from qat_report.methods import MethodRow, resolve_method
from qat_report.records import Event
from qat_report.results_csv import results_csv
from qat_report.stability import Classification, Point, classify
from qat_report.summary import (
    VARIANTS,
    Artifacts,
    Evaluation,
    Method,
    MethodCorrection,
    MethodEma,
    Metrics,
    RunSummary,
    Stability,
    Status,
    SummaryModel,
)
from qat_report.views import CorrectionView, EpochView, EvaluationPoint, RunView, SeriesName, read_epochs

SUMMARY_FILE = "run_summary.json"
PAGE_FILE = "summary.md"
RESULTS_FILE = "results.csv"


@attrs.frozen(kw_only=True)
class _Source:
    """One run as read from its files."""

    run_json: Path
    metrics: Path
    run: RunView
    epochs: tuple[EpochView, ...]
    qc_json: Path | None
    correction: CorrectionView | None
    corrector: str | None

    @property
    def inputs(self) -> list[Path]:
        return [p for p in (self.run_json, self.metrics, self.qc_json) if p is not None and p.is_file()]


def summarize(
    run: Path,
    *,
    method: str,
    out: Path,
    qc: Path | None = None,
    series: SeriesName | None = None,
    sets: Sequence[str] = (),
) -> RunSummary:
    """Summarize one method's row of a run and write run_summary.json, summary.md and results.csv into `out`.

    Args:
        run: folder with run.json and metrics.jsonl.
        method: `baseline` (raw weights), `ema`, `ema+qc`, or any other name together with `series`.
        out: folder to write to; made if absent.
        qc: folder with qc.json, or that file.
        series: which weights an unlisted method reports.
        sets: comparability keys that the method itself defines, see `comparable.METHOD_MAY_SET`.

    Raises:
        RequestError: name, series and correction contradict each other.
        ReportError: the run does not validate that series, the correction belongs to another run or other weights, or
            a completed run has no correction although the method asks for one.
        ArtifactError: a file is missing or invalid.
    """
    row = resolve_method(method, series=series, correction_given=qc is not None)
    source = _read(run, qc)
    _check(source, row)
    points = _points(source, row)
    summary = _summary(source, row, points, out=out, sets=tuple(sets))
    qat_artifacts.write_text(out / RESULTS_FILE, results_csv(source.epochs, row.series, _after(source)))
    qat_artifacts.write(out / SUMMARY_FILE, summary, inputs=source.inputs)
    qat_artifacts.write_text(out / PAGE_FILE, run_page(summary))
    return summary


def _read(folder: Path, qc: Path | None) -> _Source:
    run_json = folder / "run.json"
    run = qat_artifacts.read_view(run_json, RunView)
    metrics = folder / run.files.metrics
    # A run that was cut off in its first epoch has no metrics yet.
    epochs = read_epochs(metrics) if run.status == "completed" or metrics.is_file() else ()
    recorded = {ref.path: ref.sha256 for ref in qat_artifacts.read_header(run_json).inputs}.get(run.files.metrics)
    if recorded is not None and recorded != qat_artifacts.sha256_file(metrics):
        raise ReportError(f"{metrics}: not the file that {run_json} was written with; its SHA-256 differs")
    qc_json = qc / "qc.json" if qc is not None and qc.is_dir() else qc
    return _Source(
        run_json=run_json,
        metrics=metrics,
        run=run,
        epochs=epochs,
        qc_json=qc_json,
        correction=qat_artifacts.read_view(qc_json, CorrectionView) if qc_json else None,
        corrector=qat_artifacts.read_header(qc_json).created_by if qc_json else None,
    )


def _ended_early(source: _Source) -> bool:
    """Whether the run has no final weights to correct: it was cut off, or it diverged."""
    return source.run.status != "completed" or source.run.files.checkpoint is None


def _check(source: _Source, row: MethodRow) -> None:
    run, qc = source.run, source.correction
    if row.series not in run.series:
        held = ", ".join(run.series) or "none"
        raise ReportError(
            f"{source.run_json}: method {row.name!r} reports the {row.series} series, this run validated {held}"
        )
    if qc is not None and qc.run_id != run.run_id:
        raise ReportError(f"{source.qc_json}: corrects run {qc.run_id!r}, not {run.run_id!r} of {source.run_json}")
    if qc is not None and qc.weights != row.series:
        raise ReportError(
            f"{source.qc_json}: started from the {qc.weights} weights, method {row.name!r} reports {row.series}"
        )
    if row.corrected and qc is None and not _ended_early(source):
        raise ReportError(f"{source.run_json}: method {row.name!r} needs a correction of this run; add --qc")
    if not _ended_early(source) and len(source.epochs) != run.training.epochs:
        raise ReportError(
            f"{source.metrics}: {len(source.epochs)} of {run.training.epochs} epochs, "
            f"though {source.run_json} says completed"
        )


def _after(source: _Source) -> EvaluationPoint | None:
    return source.correction.after if source.correction else None


def _points(source: _Source, row: MethodRow) -> tuple[Point, ...]:
    points = []
    for epoch in source.epochs:
        found = epoch.point(row.series)
        points.append(
            Point(
                epoch=epoch.epoch,
                value=found.map50_95 if found else None,
                weights_sha256=found.weights_sha256 if found else None,
            )
        )
    if (after := _after(source)) is not None:
        points.append(
            Point(epoch=len(source.epochs) + 1, value=after.map50_95, weights_sha256=after.weights_sha256, stage="qc")
        )
    return tuple(points)


def _events(source: _Source) -> tuple[Event, ...]:
    """In the order they happened. A run that was cut off has them in its lines only."""
    lines = [event for epoch in source.epochs for event in epoch.events]
    return (*source.run.events, *(event for event in lines if event not in source.run.events))


def _summary(
    source: _Source, row: MethodRow, points: tuple[Point, ...], *, out: Path, sets: tuple[str, ...]
) -> RunSummary:
    run, qc = source.run, source.correction
    fp32 = run.references.fp32.map50_95 if run.references.fp32 else None
    ptq = run.references.ptq.map50_95 if run.references.ptq else None
    events = _events(source)
    verdict = classify(points, fp32=fp32, ptq=ptq, events=events)
    status = _status(run.status, verdict)
    incomplete = status == "incomplete"
    averaged = row.series == "ema"
    return RunSummary(
        run_id=f"{run.run_id}/{row.name}",
        trajectory_id=run.trajectory_id,
        created_at=run.created_at,
        git=run.git,
        model=_model(run),
        quantization=run.quantization,
        method=Method(
            variant=row.name,
            ema=MethodEma(
                enabled=averaged,
                decay=run.ema.decay if averaged else None,
                tau=run.ema.tau if averaged else None,
                window_steps=run.ema.window_steps if averaged else None,
            ),
            qc=MethodCorrection(
                enabled=row.corrected,
                epochs=qc.epochs if qc else None,
                lr=qc.lr if qc else None,
                bn_stats_fixed=qc.bn_stats_fixed if qc else None,
            ),
            sets=sets,
        ),
        dataset=run.dataset,
        training=run.training,
        evaluation=Evaluation(
            **attrs.asdict(run.evaluation), weights_sha256=points[-1].weights_sha256 if points else None
        ),
        artifacts=_artifacts(source, out),
        metrics=Metrics(
            best_value=verdict.best_value,
            best_epoch=verdict.best_epoch,
            final_value=verdict.final_value,
            fp32=fp32,
            ptq=ptq,
            history=points,
        ),
        stability=Stability(
            final_over_best_ratio=verdict.final_over_best,
            collapsed=verdict.collapsed or incomplete,
            run_class="incomplete" if incomplete else verdict.stability_class,
            findings=verdict.findings,
            reasons=verdict.reasons,
            events=events,
            not_checked=verdict.not_checked,
        ),
        versions=run.versions | _corrector_version(source.corrector),
        status=status,
        error=_error(source, row),
    )


def _status(run_status: str, verdict: Classification) -> Status:
    if run_status != "completed":
        return "incomplete"
    return "completed-success" if verdict.stability_class == "stable" else "completed-failed"


def _error(source: _Source, row: MethodRow) -> str | None:
    texts = [source.run.error] if source.run.error else []
    if source.run.status == "running":
        texts.append(f"the run was cut off after epoch {len(source.epochs)} of {source.run.training.epochs}")
    if row.corrected and source.correction is None:
        texts.append("no correction: the run has no final weights")
    return "; ".join(texts) or None


def _model(run: RunView) -> SummaryModel:
    variant = next((name for name in VARIANTS if name == run.model.variant), "other")
    return SummaryModel(**attrs.asdict(run.model) | {"variant": variant})


def _corrector_version(created_by: str | None) -> dict[str, str]:
    name, _, version = (created_by or "").partition(" ")
    return {name: version} if version else {}


def _artifacts(source: _Source, out: Path) -> Artifacts:
    def relative(path: Path) -> str:
        return Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()

    return Artifacts(
        run_root=relative(source.run_json.parent),
        run_json=relative(source.run_json),
        metrics=relative(source.metrics),
        results_csv=RESULTS_FILE,
        summary_md=PAGE_FILE,
        qc_json=relative(source.qc_json) if source.qc_json else None,
    )
