"""What a gate reads of a run summary: a narrow view of qat-report/run-summary 1.x.

Every field is required, except those that came later, whose default says what their absence means; all others are
ignored.
"""

from typing import Annotated, ClassVar, Literal, get_args

import attrs
from cattrs import override

Fault = Literal["diverged", "collapsed", "no-signal", "frozen-metric", "insufficient", "recovered"]
StabilityClass = Literal[Fault, "stable"]
RunClass = Literal[StabilityClass, "incomplete", "refused"]
Status = Literal["completed-success", "completed-failed", "incomplete", "refused"]


@attrs.frozen(kw_only=True)
class Model:
    """Which detector started from which file; `imgsz` in pixels."""

    variant: str
    checkpoint_sha256: str
    imgsz: int


@attrs.frozen(kw_only=True)
class Scale:
    """How scales are initialised, whether training changes them, and at which rate."""

    init: str
    learned: bool
    lr: float | None = None


@attrs.frozen(kw_only=True)
class Layer:
    """One layer; `bits` None: left in floating point."""

    name: str
    type: str
    bits: int | None


@attrs.frozen(kw_only=True)
class Quantization:
    """What was quantized, and how."""

    mode: str
    library: str
    weight_bit_width: int | None
    activation_bit_width: int | None
    granularity: str
    scale: Scale
    policy: str
    layers: tuple[Layer, ...]


@attrs.frozen(kw_only=True)
class Averaging:
    """Whether averaged weights are reported, and how they were averaged."""

    enabled: bool
    decay: float | None
    tau: float | None
    window_steps: float | None


@attrs.frozen(kw_only=True)
class Correction:
    """Whether Quantization Correction followed the last epoch, and how it was run; null where it was not."""

    enabled: bool
    epochs: int | None
    lr: float | None
    bn_stats_fixed: bool | None


@attrs.frozen(kw_only=True)
class Method:
    """Which weights are reported (averaged if `ema`), whether they were corrected.

    `sets`: keys that the method itself defines, so that other methods may differ in them.
    """

    variant: str
    ema: Averaging
    qc: Correction
    sets: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Selection:
    """How the validation images were chosen."""

    val: str


@attrs.frozen(kw_only=True)
class Dataset:
    """Which images and labels, and how many."""

    fingerprint: str
    val_fingerprint: str
    selection: Selection
    classes: tuple[str, ...]
    train_images: int = 0  # 0: not said
    val_images: int = 0


@attrs.frozen(kw_only=True)
class Training:
    """The part of the schedule that repetitions share, and the seed, which they do not.

    `overrides` says which profile the run was given, under "profile", and what was changed beside it; `interventions`
    what changed training itself, with its strength. `device`: with commas between those that trained it together.
    """

    seed: int
    epochs: int
    effective_batch: int
    amp: bool
    device: str = ""
    overrides: dict[str, str | int | float | bool]
    interventions: dict[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Evaluation:
    """How the numbers were measured."""

    evaluator: str
    head: str
    split: str
    conf: float
    iou: float
    max_det: int
    precision: str


@attrs.frozen(kw_only=True)
class Point:
    """One evaluation; `value` None where it gave no finite number. Stage "qc" is the point after correction."""

    epoch: int
    value: float | None
    weights_sha256: str | None
    stage: Literal["qat", "qc"]


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened on the way."""

    epoch: int
    kind: str


@attrs.frozen(kw_only=True)
class Metrics:
    """The primary metric, in [0, 1], as stated (`best_value`, `final_value`) and as measured (`history`)."""

    primary_name: str
    best_value: float | None
    best_epoch: int | None
    final_value: float | None
    fp32: float | None
    ptq: float | None
    history: tuple[Point, ...]


@attrs.frozen(kw_only=True)
class Stability:
    """The verdict on the series: every class that applies, worst first, and the worst (or the status of a cut run)."""

    collapsed: bool
    run_class: Annotated[RunClass, override(rename="class")]
    findings: tuple[Fault, ...]
    events: tuple[Event, ...]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The findings and the class, worst first; empty for a stable run."""
        return tuple(fault for fault in get_args(Fault) if fault == self.run_class or fault in self.findings)


@attrs.frozen(kw_only=True)
class RunSummary:
    """One run of one variant, method and seed."""

    SCHEMA: ClassVar[str] = "qat-report/run-summary"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    trajectory_id: str
    model: Model
    quantization: Quantization
    method: Method
    dataset: Dataset
    training: Training
    evaluation: Evaluation
    metrics: Metrics
    stability: Stability
    versions: dict[str, str]
    status: Status

    @property
    def profile(self) -> str | None:
        """The profile that the run was given, None where it does not say."""
        found = self.training.overrides.get("profile")
        return found if isinstance(found, str) else None

    @property
    def label(self) -> str:
        """Such as "yolo10n ema+qc seed 0"."""
        return f"{self.model.variant} {self.method.variant} seed {self.training.seed}"
