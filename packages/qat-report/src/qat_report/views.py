"""What this package reads of artifacts that others write: the fields it uses, no more.

Each is required, except those that came later: their defaults say what their absence means.
"""

from typing import ClassVar, Literal

import attrs

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


def _inside(instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    parts = value.split("/")
    # Printable comes first: what is not may have no bytes at all. File systems take 255 of them.
    wrong = value.startswith("/") or ".." in parts or not value.isprintable()
    if wrong or any(len(part.encode()) > 255 for part in parts):
        raise ValueError(f"{attribute.name} {value!r} is no file in the folder of run.json")


def _unit_values(instance: object, attribute: "attrs.Attribute[dict[str, float]]", value: dict[str, float]) -> None:
    for name, number in value.items():
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"{attribute.name}[{name!r}] {number} is outside [0, 1]")


@attrs.frozen(kw_only=True)
class EvaluationPoint:
    """One evaluation of one set of weights; all metrics in [0, 1], unrounded. `per_class` is AP50-95 by class name."""

    map50_95: float = attrs.field(validator=unit_interval)
    map50: float = attrs.field(validator=unit_interval)
    precision: float = attrs.field(validator=unit_interval)
    recall: float = attrs.field(validator=unit_interval)
    weights_sha256: str
    per_class: dict[str, float] = attrs.field(factory=dict, validator=_unit_values)


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
    """Relative to run.json, in its folder."""

    metrics: str = attrs.field(validator=_inside)
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
