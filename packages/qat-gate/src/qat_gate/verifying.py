"""Is a summary still what its inputs say? Its header names them by path and SHA-256.

This finds numbers edited by hand and runs repeated without a new summary. It is no signature: whoever rewrites inputs
and hashes alike is not found out.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import attrs

import qat_artifacts
from qat_gate.summaries import Dataset, Event, Model, Point, Quantization, RunSummary, Training


@attrs.frozen(kw_only=True)
class Verification:
    """What was found, one clause each: `contradicted` by the inputs, or `absent` inputs that keep it open."""

    contradicted: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


UNVERIFIED = Verification(absent=("its inputs were not looked at",))


@attrs.frozen(kw_only=True)
class _Value:
    map50_95: float
    weights_sha256: str


@attrs.frozen(kw_only=True)
class _References:
    fp32: _Value | None
    ptq: _Value | None


@attrs.frozen(kw_only=True)
class _Run:
    SCHEMA: ClassVar[str] = "qat-train/run"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    trajectory_id: str
    model: Model
    quantization: Quantization
    dataset: Dataset
    training: Training
    references: _References
    events: tuple[Event, ...]
    versions: dict[str, str]


@attrs.frozen(kw_only=True)
class _Epoch:
    epoch: int
    raw: _Value | None
    ema: _Value | None
    events: tuple[Event, ...]


@attrs.frozen(kw_only=True)
class _Correction:
    SCHEMA: ClassVar[str] = "qat-qc/correction"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    weights: str
    after: _Value


def verify(file: Path, summary: RunSummary) -> Verification:
    """Hash the inputs that the summary's header names, and derive history, references and settings from them again."""
    references = qat_artifacts.read_header(file).inputs
    kinds = {_kind(ref): file.parent / ref.path for ref in references}
    needed = ["run", "metrics"] + ["correction"] * any(p.stage == "qc" for p in summary.metrics.history)
    absent = [f"its header names no {kind}" for kind in needed if kind not in kinds]
    absent += [f"{ref.path} is not there" for ref in references if not (file.parent / ref.path).is_file()]
    if absent:
        return Verification(absent=tuple(absent))
    changed = [
        f"{ref.path} is not the file it was made from (SHA-256 differs)"
        for ref in references
        if qat_artifacts.sha256_file(file.parent / ref.path) != ref.sha256
    ]
    if changed:
        return Verification(contradicted=tuple(changed))
    try:
        return Verification(contradicted=tuple(_contradictions(summary, kinds)))
    except (qat_artifacts.ArtifactError, ValueError) as error:
        return Verification(contradicted=(f"an input cannot be read: {error}",))


def _kind(ref: qat_artifacts.Ref) -> str:
    if ref.path.endswith(".jsonl"):
        return "metrics"
    return {_Run.SCHEMA: "run", _Correction.SCHEMA: "correction"}.get(ref.schema, ref.path)


def _contradictions(summary: RunSummary, files: dict[str, Path]) -> list[str]:
    run = qat_artifacts.read_view(files["run"], _Run)
    epochs = [
        qat_artifacts.structure(
            qat_artifacts.loads(line), _Epoch, source=f"{files['metrics'].name}:{number}", strict=False
        )
        for number, line in enumerate(files["metrics"].read_text(encoding="utf-8").splitlines(), start=1)
    ]
    found = [f"{name} is {mine!r}, run.json says {theirs!r}" for name, mine, theirs in _pairs(summary, run, epochs)]
    points = _history(summary, epochs)
    if "correction" in files:
        after = qat_artifacts.read_view(files["correction"], _Correction).after
        points.append(
            Point(epoch=len(epochs) + 1, value=after.map50_95, weights_sha256=after.weights_sha256, stage="qc")
        )
    return found + _differing_points(summary.metrics.history, points)


def _pairs(summary: RunSummary, run: _Run, epochs: Iterable[_Epoch]) -> list[tuple[str, Any, Any]]:
    """Facts that the summary repeats, where they differ."""
    events = [(e.epoch, e.kind) for e in run.events]
    events += [(e.epoch, e.kind) for epoch in epochs for e in epoch.events if (e.epoch, e.kind) not in events]
    model = (
        summary.model if summary.model.variant != "other" else attrs.evolve(summary.model, variant=run.model.variant)
    )
    pairs: list[tuple[str, Any, Any]] = [
        ("run_id", summary.run_id, f"{run.run_id}/{summary.method.variant}"),
        ("trajectory_id", summary.trajectory_id, run.trajectory_id),
        *_fields("model", model, run.model),
        *_fields("quantization", summary.quantization, run.quantization),
        *_fields("dataset", summary.dataset, run.dataset),
        *_fields("training", summary.training, run.training),
        ("metrics.fp32", summary.metrics.fp32, run.references.fp32.map50_95 if run.references.fp32 else None),
        ("metrics.ptq", summary.metrics.ptq, run.references.ptq.map50_95 if run.references.ptq else None),
        ("stability.events", [(e.epoch, e.kind) for e in summary.stability.events], events),
        *((f"versions.{k}", summary.versions.get(k), v) for k, v in run.versions.items()),
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _fields(name: str, mine: Any, theirs: Any) -> list[tuple[str, Any, Any]]:
    return [(f"{name}.{f.name}", getattr(mine, f.name), getattr(theirs, f.name)) for f in attrs.fields(type(mine))]


def _history(summary: RunSummary, epochs: Iterable[_Epoch]) -> list[Point]:
    points = []
    for line in epochs:
        value = line.ema if summary.method.ema.enabled else line.raw
        points.append(
            Point(
                epoch=line.epoch,
                value=value.map50_95 if value else None,
                weights_sha256=value.weights_sha256 if value else None,
                stage="qat",
            )
        )
    return points


def _differing_points(stated: tuple[Point, ...], measured: list[Point]) -> list[str]:
    if len(stated) != len(measured):
        return [f"its history has {len(stated)} points, its inputs {len(measured)}"]
    return [
        f"history at epoch {mine.epoch} is {mine.value} ({mine.stage}), the inputs say {theirs.value} ({theirs.stage})"
        for mine, theirs in zip(stated, measured, strict=True)
        if mine != theirs
    ]
