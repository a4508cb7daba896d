"""Is a summary still what its inputs say? Its header names them by path and SHA-256.

This finds numbers edited by hand and runs repeated without a new summary. It is no signature: whoever rewrites inputs
and hashes alike is not found out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

import qat_artifacts
from qat_gate.judging import derive_findings
from qat_gate.naming import Row, row_of
from qat_gate.summaries import Dataset, Evaluation, Event, Model, Point, Quantization, RunSummary, Training

PRIMARY_METRIC = "metrics/mAP50-95(B)"  # what map50_95 of the inputs is called in a summary


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
class _Average:
    decay: float | None
    tau: float | None
    window_steps: float | None


@attrs.frozen(kw_only=True)
class _Files:
    metrics: str


@attrs.frozen(kw_only=True)
class _Run:
    SCHEMA: ClassVar[str] = "qat-train/run"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    trajectory_id: str
    status: Literal["running", "completed", "failed"]
    model: Model
    quantization: Quantization
    ema: _Average
    dataset: Dataset
    training: Training
    evaluation: Evaluation
    references: _References
    events: tuple[Event, ...]
    files: _Files
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
    epochs: int | None
    lr: float | None
    bn_stats_fixed: bool
    after: _Value
    stages: tuple[str, ...] = ("qc",)
    trained: tuple[str, ...] = attrs.field()

    @trained.default
    def _trained(self) -> tuple[str, ...]:
        return ("beta", "gamma") if "qc" in self.stages else ()


def verify(file: Path, summary: RunSummary) -> Verification:
    """Hash the inputs that the summary's header names, and derive history, references and settings from them again."""
    row, references = row_of(summary.method.variant), qat_artifacts.read_header(file).inputs
    named: dict[str, list[Path]] = defaultdict(list)
    for ref in references:
        named[_kind(ref)].append(file.parent / ref.path)
    needed = ["run", "metrics"] + ["correction"] * (bool(row.stages) and _ended_whole(summary))
    absent = [f"its header names no {kind}" for kind in needed if kind not in named]
    absent += [f"{ref.path} is not there" for ref in references if not (file.parent / ref.path).is_file()]
    if absent:
        return Verification(absent=tuple(absent))
    changed = [f"its header names {len(found)} files of {kind}" for kind, found in named.items() if len(found) > 1]
    changed += [
        f"{ref.path} is not the file it was made from (SHA-256 differs)"
        for ref in references
        if qat_artifacts.sha256_file(file.parent / ref.path) != ref.sha256
    ]
    if changed:
        return Verification(contradicted=tuple(changed))
    files = {kind: found[0] for kind, found in named.items()}
    try:
        run = qat_artifacts.read_view(files["run"], _Run)
        nested = _nested(files, run)
        if nested != Verification():
            return nested
        return Verification(contradicted=tuple(_contradictions(summary, row, run, files)))
    except (qat_artifacts.ArtifactError, OSError, ValueError, RecursionError) as error:
        return Verification(contradicted=(f"an input cannot be read: {error}",))


def _kind(ref: qat_artifacts.Ref) -> str:
    if ref.path.endswith(".jsonl"):
        return "metrics"
    return {_Run.SCHEMA: "run", _Correction.SCHEMA: "correction"}.get(ref.schema, ref.path)


def _ended_whole(summary: RunSummary) -> bool:
    """Whether the run went through all of its epochs: it says completed, and did not diverge on the way."""
    return summary.status.startswith("completed") and "diverged" not in derive_findings(summary)


def _nested(files: dict[str, Path], run: _Run) -> Verification:
    """What the inputs record of one another: a run the hash of its metrics, a correction that of its run."""
    if files["metrics"].resolve() != (files["run"].parent / run.files.metrics).resolve():
        return Verification(contradicted=(f"{files['metrics'].name} is not the {run.files.metrics} of its run.json",))
    holders = [("run", "metrics")] * (run.status == "completed") + [("correction", "run")] * ("correction" in files)
    absent, contradicted = [], []
    for holder, held in holders:
        path, target = files[holder], files[held].resolve()
        recorded = [r for r in qat_artifacts.read_header(path).inputs if (path.parent / r.path).resolve() == target]
        if not recorded:
            absent.append(f"{path.name} records no hash of {target.name}")
        elif any(ref.sha256 != qat_artifacts.sha256_file(target) for ref in recorded):
            contradicted.append(f"{target.name} is not the file that {path.name} records (SHA-256 differs)")
    return Verification(contradicted=tuple(contradicted), absent=tuple(absent))


def _contradictions(summary: RunSummary, row: Row, run: _Run, files: dict[str, Path]) -> list[str]:
    epochs = [
        qat_artifacts.structure(
            qat_artifacts.loads(line), _Epoch, source=f"{files['metrics'].name}:{number}", strict=False
        )
        for number, line in enumerate(files["metrics"].read_text(encoding="utf-8").splitlines(), start=1)
    ]
    found = [f"{name} is {mine!r}, run.json says {theirs!r}" for name, mine, theirs in _pairs(summary, run, epochs)]
    found += _misnamed(summary, row, run)
    uncorrected = bool(row.stages) and "correction" not in files  # a correction that failed leaves its row incomplete
    found += _unfinished(summary, run, [line.epoch for line in epochs], uncorrected=uncorrected)
    points = _history(row, epochs)
    if "correction" in files:
        correction = qat_artifacts.read_view(files["correction"], _Correction)
        found += _miscorrected(summary, row, run, correction)
        after = correction.after
        points.append(
            Point(epoch=len(epochs) + 1, value=after.map50_95, weights_sha256=after.weights_sha256, stage="qc")
        )
    return found + _differing_points(summary.metrics.history, points)


def _misnamed(summary: RunSummary, row: Row, run: _Run) -> Iterator[str]:
    """What the method's name does not mean."""
    method, name = summary.method, summary.method.variant
    switches = [("ema", method.ema.enabled, row.series == "ema"), ("qc", method.qc.enabled, "qc" in row.stages)]
    for part, mine, meant in switches:
        if mine != meant:
            yield f"method.{part}.enabled is {mine}, the name {name} says {meant}"
    if row.series == "ema":
        for key, mine, theirs in _fields("method.ema", run.ema, method.ema):
            if mine != theirs:
                yield f"{key} is {theirs!r}, run.json says {mine!r}"
    if summary.metrics.primary_name != PRIMARY_METRIC:
        yield f"metrics.primary_name is {summary.metrics.primary_name!r}, its inputs hold {PRIMARY_METRIC!r}"


def _unfinished(summary: RunSummary, run: _Run, epochs: list[int], *, uncorrected: bool) -> Iterator[str]:
    """A status that the run has not, or epochs that are missing of a completed one."""
    completed = run.status == "completed"
    if summary.status.startswith("completed") != completed and not (completed and uncorrected):
        yield f"its status is {summary.status}, run.json says {run.status}"
    if epochs != list(range(1, len(epochs) + 1)):
        yield f"the epochs of the metrics are not counted from 1: {epochs}"
    if completed and _ended_whole(summary) and len(epochs) != run.training.epochs:
        yield f"the metrics hold {len(epochs)} of {run.training.epochs} epochs, though run.json says completed"


def _miscorrected(summary: RunSummary, row: Row, run: _Run, qc: _Correction) -> Iterator[str]:
    """A correction of another run, of other weights, or of another kind than the method's name says."""
    pairs: list[tuple[str, Any, Any]] = [
        ("run_id", qc.run_id, run.run_id),
        ("weights", qc.weights, row.series),
        ("stages", qc.stages, row.stages),
        ("trained", sorted(qc.trained), sorted(row.trained)),
        ("epochs", qc.epochs, summary.method.qc.epochs),
        ("lr", qc.lr, summary.method.qc.lr),
        ("bn_stats_fixed", qc.bn_stats_fixed, summary.method.qc.bn_stats_fixed),
    ]
    for name, theirs, mine in pairs:
        if theirs != mine:
            yield f"{name} of qc.json is {theirs!r}, {summary.method.variant} of this run has {mine!r}"


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
        *_fields("evaluation", summary.evaluation, run.evaluation),
        ("metrics.fp32", summary.metrics.fp32, run.references.fp32.map50_95 if run.references.fp32 else None),
        ("metrics.ptq", summary.metrics.ptq, run.references.ptq.map50_95 if run.references.ptq else None),
        ("stability.events", [(e.epoch, e.kind) for e in summary.stability.events], events),
        *((f"versions.{k}", summary.versions.get(k), v) for k, v in run.versions.items()),
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _fields(name: str, mine: Any, theirs: Any) -> list[tuple[str, Any, Any]]:
    return [(f"{name}.{f.name}", getattr(mine, f.name), getattr(theirs, f.name)) for f in attrs.fields(type(mine))]


def _history(row: Row, epochs: Iterable[_Epoch]) -> list[Point]:
    points = []
    for line in epochs:
        value = line.ema if row.series == "ema" else line.raw
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
