"""From a training run (and its correction) to the summary of one method's row."""

import os
from collections.abc import Sequence
from pathlib import Path

import attrs

import qat_artifacts
from qat_report.errors import RequestError
from qat_report.methods import MethodRow, resolve_method
from qat_report.records import Event
from qat_report.results_csv import results_csv
from qat_report.run_page import run_page
from qat_report.sources import Source, check_source, read_source
from qat_report.stability import Classification, Point, classify
from qat_report.summary import (
    PAGE_FILE,
    RESULTS_FILE,
    STOPPED,
    SUMMARY_FILE,
    UNCORRECTED,
    VARIANTS,
    Artifacts,
    Evaluation,
    Method,
    MethodCorrection,
    MethodEma,
    Metrics,
    Oscillation,
    RunSummary,
    Stability,
    Status,
    SummaryModel,
)
from qat_report.views import RunView, SeriesName


def summarize(
    run: Path,
    *,
    method: str,
    out: Path,
    qc: Path | None = None,
    series: SeriesName | None = None,
    sets: Sequence[str] = (),
    stopped: str | None = None,
    failed: str | None = None,
) -> RunSummary:
    """Summarize one method's row of a run and write run_summary.json, summary.md and results.csv into `out`.

    Args:
        run: folder with run.json and metrics.jsonl.
        method: a known name (`methods.ORDER`), such as `baseline`, `ema` or `ema+bn+qc`, or any other name together
            with `series`.
        out: folder to write to; made if absent.
        qc: folder with qc.json, or that file.
        series: which weights an unlisted method reports.
        sets: comparability keys that the method itself defines, see `comparable.METHOD_MAY_SET`.
        stopped: the signs of a collapse for which somebody ended the run; it is incomplete, for that reason.
        failed: why the correction of a completed run failed; the row is incomplete, for that reason.

    Raises:
        RequestError: name, series and correction contradict each other, a run that ended by itself was stopped, or a
            correction failed that is there, or that neither method nor run could have.
        ReportError: the run does not validate that series, the correction belongs to another run or other weights, or
            a completed run has no correction, or another one than the method asks for.
        ArtifactError: a file is missing or invalid.
    """
    row = resolve_method(method, series=series, correction_given=qc is not None)
    source = read_source(run, qc)
    check_source(source, row, uncorrected=failed is not None)
    if stopped and source.run.status != "running":
        raise RequestError(f"--stopped: {source.run_json} is {source.run.status}: the run ended by itself")
    if failed is not None and (source.ended_early or source.correction is not None or not row.corrected):
        raise RequestError(f"--failed: {source.run_json} and method {row.name!r} wait for no correction")
    points = _points(source, row)
    summary = _summary(source, row, points, out=out, sets=tuple(sets), stopped=stopped, failed=failed)
    qat_artifacts.write_text(out / RESULTS_FILE, results_csv(source.epochs, row.series, source.after))
    qat_artifacts.write(out / SUMMARY_FILE, summary, inputs=source.inputs)
    qat_artifacts.write_text(out / PAGE_FILE, run_page(summary))
    return summary


def _points(source: Source, row: MethodRow) -> tuple[Point, ...]:
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
    if (after := source.after) is not None:
        points.append(
            Point(epoch=len(source.epochs) + 1, value=after.map50_95, weights_sha256=after.weights_sha256, stage="qc")
        )
    return tuple(points)


def _events(source: Source) -> tuple[Event, ...]:
    """In the order they happened. A run that was cut off has them in its lines only."""
    lines = [event for epoch in source.epochs for event in epoch.events]
    return (*source.run.events, *(event for event in lines if event not in source.run.events))


def _summary(
    source: Source,
    row: MethodRow,
    points: tuple[Point, ...],
    *,
    out: Path,
    sets: tuple[str, ...],
    stopped: str | None,
    failed: str | None,
) -> RunSummary:
    run = source.run
    fp32 = run.references.fp32.map50_95 if run.references.fp32 else None
    ptq = run.references.ptq.map50_95 if run.references.ptq else None
    events = _events(source)
    verdict = classify(points, fp32=fp32, ptq=ptq, events=events)
    status: Status = "incomplete" if failed is not None else _status(run.status, verdict)
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
            qc=_correction(source, row),
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
        oscillation=_oscillation(source),
        versions=run.versions | _corrector_version(source.corrector),
        status=status,
        error=_error(source, row, stopped, failed),
    )


def _correction(source: Source, row: MethodRow) -> MethodCorrection:
    qc = source.correction
    stages = qc.stages if qc else row.planned
    return MethodCorrection(
        enabled="qc" in stages,
        stages=stages,
        trained=qc.trained if qc else row.trained or (),
        epochs=qc.epochs if qc else None,
        lr=qc.lr if qc else None,
        bn_stats_fixed=qc.bn_stats_fixed if qc else None,
    )


def _oscillation(source: Source) -> Oscillation | None:
    """Of the last epoch that has one: an epoch that diverged has none."""
    for epoch in reversed(source.epochs):
        if (found := epoch.oscillation) is not None:
            total = attrs.asdict(found.total, filter=lambda field, _: field.name != "weights")
            return Oscillation(**total, momentum=found.momentum, threshold=found.threshold, epoch=epoch.epoch)
    return None


def _status(run_status: str, verdict: Classification) -> Status:
    if run_status != "completed":
        return "incomplete"
    return "completed-success" if verdict.stability_class == "stable" else "completed-failed"


def _error(source: Source, row: MethodRow, stopped: str | None, failed: str | None) -> str | None:
    texts = [source.run.error] if source.run.error else []
    reached = f"after epoch {len(source.epochs)} of {source.run.training.epochs}"
    if stopped:
        texts.append(f"{STOPPED} {reached}: {stopped}")
    elif source.run.status == "running":
        texts.append(f"the run was cut off {reached}")
    if row.corrected and source.correction is None:
        texts.append(f"{UNCORRECTED} {failed or 'the run has no final weights'}")
    return "; ".join(texts) or None


def _model(run: RunView) -> SummaryModel:
    variant = next((name for name in VARIANTS if name == run.model.variant), "other")
    return SummaryModel(**attrs.asdict(run.model) | {"variant": variant})


def _corrector_version(created_by: str | None) -> dict[str, str]:
    name, _, version = (created_by or "").partition(" ")
    return {name: version} if version else {}


def _artifacts(source: Source, out: Path) -> Artifacts:
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
