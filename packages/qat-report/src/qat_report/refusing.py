"""The summary of a run that a gate refused: it was asked for, and never started."""

import os
from pathlib import Path
from typing import ClassVar

import attrs

import qat_artifacts
from qat_report.comparison import read_gate
from qat_report.errors import ReportError
from qat_report.methods import planned_stages
from qat_report.records import Dataset, Git, Model, Quantization, Selection, Training
from qat_report.run_page import run_page
from qat_report.summary import (
    PAGE_FILE,
    SUMMARY_FILE,
    VARIANTS,
    Artifacts,
    Evaluation,
    Method,
    MethodCorrection,
    MethodEma,
    Metrics,
    RunSummary,
    Stability,
    SummaryModel,
)
from qat_report.views import DecisionView, RunEvaluation

NOT_PREPARED = "not prepared"  # stands where the fingerprint of data would that nobody has read yet


@attrs.frozen(kw_only=True)
class RequestedModel(Model):
    """`checkpoint_sha256` None: the file is not there."""

    checkpoint_sha256: str | None  # type: ignore[assignment]  # wider than in a run that was started


@attrs.frozen(kw_only=True)
class RequestedData:
    """As in a run; fingerprints of None: the data were not prepared."""

    coco_root: str
    dataset_yaml: str
    fingerprint: str | None
    selection: Selection
    train_images: int
    val_images: int
    val_fingerprint: str | None
    classes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class RequestView:
    """request.json: a run as it was asked for."""

    SCHEMA: ClassVar[str] = "ladder/request"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    created_at: str
    git: Git
    model: RequestedModel
    quantization: Quantization
    method: str
    averaged: bool
    corrected: bool
    dataset: RequestedData
    training: Training
    evaluation: RunEvaluation
    versions: dict[str, str]


def refuse(request: Path, *, gate: Path, out: Path) -> RunSummary:
    """Write run_summary.json (status `refused`, no numbers) and summary.md with the gate's reasons into `out`.

    Args:
        request: request.json, the run that was asked for.
        gate: gate.json, a NO-GO.
        out: folder to write to; made if absent.

    Raises:
        ReportError: the gate says GO.
        ArtifactError: a file is missing or invalid.
    """
    asked = qat_artifacts.read_view(request, RequestView)
    decision = qat_artifacts.read_view(gate, DecisionView)
    if decision.passed:
        raise ReportError(f"{gate}: says GO; there is nothing to refuse")
    summary = _summary(asked, decision, request=Path(os.path.relpath(request.resolve(), out.resolve())).as_posix())
    qat_artifacts.write(out / SUMMARY_FILE, summary, inputs=[request, gate])
    qat_artifacts.write_text(out / PAGE_FILE, run_page(summary, gate=read_gate(gate, out)))
    return summary


def _summary(asked: RequestView, decision: DecisionView, *, request: str) -> RunSummary:
    kinds = {reason.kind for criterion in decision.criteria for reason in criterion.reasons}
    reasons = [
        f"{criterion.id}: {reason.kind}: {reason.text}"
        for criterion in decision.criteria
        if not criterion.met
        for reason in criterion.reasons
    ]
    data = attrs.asdict(asked.dataset, recurse=False)
    data |= {key: data[key] or NOT_PREPARED for key in ("fingerprint", "val_fingerprint")}
    stages = planned_stages(asked.method, corrected=asked.corrected)
    variant = next((name for name in VARIANTS if name == asked.model.variant), "other")
    return RunSummary(
        run_id=asked.run_id,
        trajectory_id=asked.run_id,
        created_at=asked.created_at,
        git=asked.git,
        model=SummaryModel(**attrs.asdict(asked.model) | {"variant": variant}),
        quantization=asked.quantization,
        method=Method(
            variant=asked.method,
            ema=MethodEma(enabled=asked.averaged),
            qc=MethodCorrection(enabled="qc" in stages, stages=stages, trained=()),
        ),
        dataset=Dataset(**data),
        training=asked.training,
        evaluation=Evaluation(**attrs.asdict(asked.evaluation), weights_sha256=None),
        artifacts=Artifacts(
            run_root=".", run_json=request, metrics="", results_csv="", summary_md=PAGE_FILE, qc_json=None
        ),
        metrics=Metrics(best_value=None, best_epoch=None, final_value=None, fp32=None, ptq=None, history=()),
        stability=Stability(
            final_over_best_ratio=None,
            collapsed=True,  # nothing shows that it would not
            run_class="refused",
            findings=(),
            reasons=tuple(reasons),
            events=(),
            not_checked=(),
        ),
        oscillation=None,
        versions=asked.versions,
        status="refused",
        error=f"refused by {decision.gate_name}: {', '.join(sorted(kinds))}",
    )
