"""What this package reads of artifacts that others write: the fields it uses, no more.

Each is required, except those that came later: their defaults say what their absence means.
"""

import json
from pathlib import Path
from typing import ClassVar, Literal

import attrs

import qat_artifacts
from qat_report.errors import ReportError
from qat_report.records import (
    CORRECTIONS,
    CorrectionStage,
    Dataset,
    Event,
    Git,
    Model,
    Quantization,
    Trained,
    Training,
    unit_interval,
)

SeriesName = Literal["raw", "ema"]


@attrs.frozen(kw_only=True)
class EvaluationPoint:
    """One evaluation of one set of weights; all metrics in [0, 1], unrounded."""

    map50_95: float = attrs.field(validator=unit_interval)
    map50: float = attrs.field(validator=unit_interval)
    precision: float = attrs.field(validator=unit_interval)
    recall: float = attrs.field(validator=unit_interval)
    weights_sha256: str


@attrs.frozen(kw_only=True)
class References:
    """Floating point, and quantized without training."""

    fp32: EvaluationPoint | None
    ptq: EvaluationPoint | None


@attrs.frozen(kw_only=True)
class RunEma:
    """The moving average of a run."""

    enabled: bool
    decay: float | None
    tau: float | None
    window_steps: float | None


@attrs.frozen(kw_only=True)
class RunEvaluation:
    """How every number of a run was measured."""

    evaluator: str
    head: str
    split: str
    conf: float
    iou: float
    max_det: int
    precision: str


@attrs.frozen(kw_only=True)
class RunFiles:
    """Relative to run.json."""

    metrics: str
    checkpoint: str | None


@attrs.frozen(kw_only=True)
class RunView:
    """run.json of a training run."""

    SCHEMA: ClassVar[str] = "qat-train/run"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    trajectory_id: str
    created_at: str
    status: Literal["running", "completed", "failed"]
    error: str | None
    git: Git
    model: Model
    quantization: Quantization
    ema: RunEma
    dataset: Dataset
    training: Training
    evaluation: RunEvaluation
    references: References
    series: tuple[SeriesName, ...]
    events: tuple[Event, ...]
    files: RunFiles
    versions: dict[str, str]


@attrs.frozen(kw_only=True)
class OscillationTotal:
    """Over all tracked weights: mean smoothed frequency, share of weights above the threshold, switches of a code.

    A switch is by weight where the weight alone would have moved the code, else by scale.
    """

    frequency: float = attrs.field(validator=unit_interval)
    share: float = attrs.field(validator=unit_interval)
    switches: int
    by_weight: int
    by_scale: int

    def __attrs_post_init__(self) -> None:
        if self.by_weight + self.by_scale != self.switches:
            raise ValueError(
                f"{self.by_weight} switches by weight and {self.by_scale} by scale are not {self.switches} switches"
            )


@attrs.frozen(kw_only=True)
class OscillationView:
    """How often codes changed back and forth during one epoch (Nagel et al., ICML 2022)."""

    momentum: float
    threshold: float
    total: OscillationTotal


@attrs.frozen(kw_only=True)
class EpochView:
    """One line of metrics.jsonl. A loss that is not finite is None; so is an evaluation that gave no number."""

    epoch: int = attrs.field(validator=attrs.validators.ge(1))
    seconds: float
    loss: dict[str, float | None]
    raw: EvaluationPoint | None
    ema: EvaluationPoint | None
    events: tuple[Event, ...]
    oscillation: OscillationView | None = None

    def point(self, series: SeriesName) -> EvaluationPoint | None:
        """The evaluation of one series."""
        return self.raw if series == "raw" else self.ema


@attrs.frozen(kw_only=True)
class CorrectionView:
    """qc.json. `epochs` and `lr` are None where nothing was trained, that is without the stage "qc"."""

    SCHEMA: ClassVar[str] = "qat-qc/correction"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    weights: SeriesName
    epochs: int | None
    lr: float | None
    bn_stats_fixed: bool
    after: EvaluationPoint
    stages: tuple[CorrectionStage, ...] = ("qc",)
    trained: tuple[Trained, ...] = attrs.field()
    batch_norms: int = 0

    @trained.default
    def _trained(self) -> tuple[Trained, ...]:
        return ("gamma", "beta") if "qc" in self.stages else ()

    def __attrs_post_init__(self) -> None:
        if self.stages not in CORRECTIONS:
            raise ValueError(f"stages {list(self.stages)} are neither bn nor qc nor bn, qc")
        if ("qc" in self.stages) != bool(self.trained):
            raise ValueError(f"stages {list(self.stages)} and trained {list(self.trained)} contradict each other")


@attrs.frozen(kw_only=True)
class CriterionReason:
    """Why a criterion is not met."""

    kind: str
    text: str
    runs: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Criterion:
    """One rule of a gate."""

    id: str
    text: str
    met: bool
    reasons: tuple[CriterionReason, ...]


@attrs.frozen(kw_only=True)
class DecisionView:
    """gate.json."""

    SCHEMA: ClassVar[str] = "qat-gate/decision"
    VERSION: ClassVar[str] = "1.0"

    gate_name: str
    passed: bool
    reason: str
    override: str | None
    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]


def read_epochs(path: Path) -> tuple[EpochView, ...]:
    """All lines of a metrics.jsonl.

    Raises:
        ReportError: missing, or a line that is no JSON, or epochs that are not 1, 2, 3, ...
        InvalidArtifact: a field is wrong; the text names file, line and field.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: {error}") from error
    epochs = []
    for number, line in enumerate(lines, start=1):
        try:
            raw = qat_artifacts.loads(line)
        except (json.JSONDecodeError, ValueError, RecursionError) as error:
            raise ReportError(f"{path}:{number}: not valid JSON: {error}") from error
        record = qat_artifacts.structure(raw, EpochView, source=f"{path}:{number}", strict=False)
        if record.epoch != number:
            raise ReportError(f"{path}:{number}: epoch {record.epoch}, one line an epoch from 1 is expected")
        epochs.append(record)
    return tuple(epochs)
