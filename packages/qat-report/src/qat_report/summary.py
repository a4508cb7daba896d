"""One run of one method: schema qat-report/run-summary."""

from typing import Annotated, ClassVar, Literal

import attrs
from cattrs import override

from qat_report.comparable import METHOD_MAY_SET
from qat_report.epochs import OscillationTotal
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
from qat_report.series import PRIMARY_METRIC
from qat_report.stability import COLLAPSE_RATIO, Point, StabilityClass

SUMMARY_FILE = "run_summary.json"
PAGE_FILE = "summary.md"
RESULTS_FILE = "results.csv"
UNCORRECTED = "no correction:"  # how the error of a row begins that its correction did not reach
STOPPED = "stopped: doomed"  # how the error of a run begins that was ended for signs of a collapse

Variant = Literal["yolo10n", "yolo10s", "yolo10m", "other"]
VARIANTS: tuple[Variant, ...] = ("yolo10n", "yolo10s", "yolo10m", "other")
Status = Literal["completed-success", "completed-failed", "incomplete", "refused"]
RunClass = StabilityClass | Literal["incomplete", "refused"]


@attrs.frozen(kw_only=True)
class SummaryModel(Model):
    """As in run.json; a variant this project does not know is "other". A refused run may lack its checkpoint."""

    variant: Variant
    checkpoint_sha256: str | None  # type: ignore[assignment]  # wider than in a run that was started


@attrs.frozen(kw_only=True)
class MethodEma:
    """The average behind the reported weights; not enabled where the raw weights are reported."""

    enabled: bool
    decay: float | None = None
    tau: float | None = None
    window_steps: float | None = None


@attrs.frozen(kw_only=True)
class MethodCorrection:
    """What follows the last epoch: null fields where it was not run.

    `stages` are re-estimation of batch norm statistics ("bn") and Quantization Correction ("qc"), in this order;
    `enabled` says that the latter is among them, `trained` what it trains.
    """

    enabled: bool
    stages: tuple[CorrectionStage, ...]
    trained: tuple[Trained, ...]
    epochs: int | None = None
    lr: float | None = None
    bn_stats_fixed: bool | None = None

    def __attrs_post_init__(self) -> None:
        if self.stages not in ((), *CORRECTIONS):
            raise ValueError(f"stages {list(self.stages)} are neither bn nor qc nor bn, qc")
        if self.enabled != ("qc" in self.stages):
            raise ValueError(f"enabled is {self.enabled}, the stages are {list(self.stages)}")


def _settable(_: object, __: "attrs.Attribute[tuple[str, ...]]", value: tuple[str, ...]) -> None:
    unknown = sorted(set(value) - set(METHOD_MAY_SET))
    if unknown:
        raise ValueError(f"a method cannot set {', '.join(unknown)}; it may set {', '.join(METHOD_MAY_SET)}")


@attrs.frozen(kw_only=True)
class Method:
    """`sets`: comparability keys that the method itself defines, so that other methods may differ in them."""

    variant: str
    ema: MethodEma
    qc: MethodCorrection
    sets: tuple[str, ...] = attrs.field(default=(), validator=_settable)


@attrs.frozen(kw_only=True)
class Evaluation:
    """How the numbers were measured, and the weights behind the final one."""

    evaluator: str
    head: str
    split: str
    conf: float
    iou: float
    max_det: int
    precision: str
    weights_sha256: str | None


@attrs.frozen(kw_only=True)
class Artifacts:
    """Paths relative to the summary."""

    run_root: str
    run_json: str
    metrics: str
    results_csv: str
    summary_md: str
    qc_json: str | None


@attrs.frozen(kw_only=True)
class Metrics:
    """mAP50-95 in [0, 1]. `history` is the whole series of the method's weights; FP32 and PTQ are not part of it."""

    primary_name: str = PRIMARY_METRIC
    best_value: float | None = attrs.field(validator=unit_interval)
    best_epoch: int | None
    final_value: float | None = attrs.field(validator=unit_interval)
    fp32: float | None = attrs.field(validator=unit_interval)
    ptq: float | None = attrs.field(validator=unit_interval)
    history: tuple[Point, ...]

    def __attrs_post_init__(self) -> None:
        if not self.history:
            return
        best = max((point.value for point in self.history if point.value is not None), default=None)
        if self.best_value != best:
            raise ValueError(f"best_value is {self.best_value}, the history says {best}")
        if self.final_value != self.history[-1].value:
            raise ValueError(f"final_value is {self.final_value}, the history says {self.history[-1].value}")


@attrs.frozen(kw_only=True)
class Stability:
    """The verdict. `collapsed` is False only where the series shows that it did not collapse."""

    collapse_threshold_ratio: float = COLLAPSE_RATIO
    final_over_best_ratio: float | None
    collapsed: bool
    run_class: Annotated[RunClass, override(rename="class")]
    findings: tuple[StabilityClass, ...]
    reasons: tuple[str, ...]
    events: tuple[Event, ...]
    not_checked: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Oscillation(OscillationTotal):
    """How the codes of the training run moved in its last tracked epoch; the same in every row of a trajectory."""

    momentum: float
    threshold: float
    epoch: int


@attrs.frozen(kw_only=True)
class RunSummary:
    """run_summary.json: one per variant, method and seed."""

    SCHEMA: ClassVar[str] = "qat-report/run-summary"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    trajectory_id: str
    created_at: str
    git: Git
    model: SummaryModel
    quantization: Quantization
    method: Method
    dataset: Dataset
    training: Training
    evaluation: Evaluation
    artifacts: Artifacts
    metrics: Metrics
    stability: Stability
    oscillation: Oscillation | None
    versions: dict[str, str]
    status: Status
    error: str | None

    def __attrs_post_init__(self) -> None:
        if any(point.stage == "qc" for point in self.metrics.history) and not self.method.qc.stages:
            raise ValueError("the history has a point after correction, method.qc.stages is empty")
