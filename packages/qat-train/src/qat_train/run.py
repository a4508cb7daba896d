"""The record of a run: schema qat-train/run and the lines of metrics.jsonl."""

from typing import ClassVar, Literal

import attrs
from attrs import validators

from qat_train.environment import Git
from qat_train.places import inside

Series = Literal["raw", "ema"]
Init = Literal["max", "mse", "outputs", "gptq"]  # how scales (and, with gptq, weights) start; docs/methods.md


def _unit(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{attribute.name} {value} is outside [0, 1]")


@attrs.frozen(kw_only=True)
class Evaluation:
    """One evaluation of one set of weights. All metrics are unrounded numbers in [0, 1]."""

    map50_95: float = attrs.field(validator=_unit)
    map50: float = attrs.field(validator=_unit)
    precision: float = attrs.field(validator=_unit)
    recall: float = attrs.field(validator=_unit)
    per_class: dict[str, float]
    weights_sha256: str
    seconds: float


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened to a run and belongs into its evidence. `epoch` counts from 1."""

    epoch: int
    kind: Literal["nan-loss", "nan-weights", "rollback", "scaler-skip", "batch-halved", "resumed"]
    detail: str


@attrs.frozen(kw_only=True)
class LayerOscillation:
    """Oscillation of one layer, or of all together; see `qat_train.oscillation`.

    `frequency` is the mean over weights, `share` that of weights above the threshold. `switches` of codes since the
    record before are split by what caused them. `distance`: weights by |v - nearest rounding threshold|, v = w/s, in
    ten bins over [0, 0.5], clipped weights in the last.
    """

    weights: int
    frequency: float = attrs.field(validator=_unit)
    share: float = attrs.field(validator=_unit)
    switches: int
    by_weight: int
    by_scale: int
    distance: tuple[int, ...]

    def __attrs_post_init__(self) -> None:
        if self.by_weight + self.by_scale != self.switches:
            raise ValueError(f"{self.by_weight} switches by weight and {self.by_scale} by scale of {self.switches}")


@attrs.frozen(kw_only=True)
class Oscillation:
    """Oscillation during one epoch. `layers` by path: the quantized layers at the run's width or below."""

    momentum: float
    threshold: float
    total: LayerOscillation
    layers: dict[str, LayerOscillation]


@attrs.frozen(kw_only=True)
class Spread:
    """One measure of every layer: the median layer and the largest."""

    median: float = attrs.field(validator=attrs.validators.ge(0.0))
    max: float = attrs.field(validator=attrs.validators.ge(0.0))


@attrs.frozen(kw_only=True)
class Drift:
    """How far a model has moved at the end of an epoch; see `qat_train.drift`.

    Of scales: the relative change of a layer, since the epoch before and since the start, None where they are fixed. Of
    running variances: the factor since the start, from 1, None without batch norm. None too where one is not finite.
    """

    scale_since_before: Spread | None
    scale_since_start: Spread | None
    bn_variance: Spread | None


@attrs.frozen(kw_only=True)
class EpochRecord:
    """One line of metrics.jsonl. A series without a number is None; so is a loss that is not finite.

    `drift` is None in lines of before it was measured.
    """

    epoch: int
    steps: int
    seconds: float
    learning_rate: float
    loss: dict[str, float | None]
    raw: Evaluation | None
    ema: Evaluation | None
    events: tuple[Event, ...] = ()
    oscillation: Oscillation | None = None
    drift: Drift | None = None


@attrs.frozen(kw_only=True)
class QuantizedLayer:
    """One convolution in the record of a run. `bits` None: left in floating point."""

    name: str
    type: str
    bits: int | None
    elements: int


@attrs.frozen(kw_only=True)
class ModelBlock:
    """Which detector was trained, from which file."""

    variant: str
    checkpoint: str
    checkpoint_sha256: str
    imgsz: int
    parameters: int
    class_match: Literal["by-name", "rebuilt"]


@attrs.frozen(kw_only=True)
class ScaleBlock:
    """How scales are set before training and whether a gradient changes them; `lr` is that of a learned amax."""

    init: Init
    learned: bool
    lr: float | None = None


@attrs.frozen(kw_only=True)
class QuantizationBlock:
    """What was quantized, and how. Activations never are, but by Ultralytics' own INT8 training, a row to compare with.

    `library`: "nvidia-modelopt" holds our quantizers; the names after it are peers.
    """

    mode: str
    library: Literal["nvidia-modelopt", "none", "nvidia-modelopt, stock", "torch.ao", "brevitas", "ultralytics"]
    weight_bit_width: int | None
    activation_bit_width: int | None = None
    granularity: Literal["per-channel", "per-tensor"]
    scale: ScaleBlock
    policy: str
    layers: tuple[QuantizedLayer, ...]

    @property
    def quantized_layers(self) -> int:
        """How many layers have a width."""
        return sum(layer.bits is not None for layer in self.layers)


@attrs.frozen(kw_only=True)
class EmaBlock:
    """The moving average as it was used. `window_steps` is the W of decay = 1 - 1/W."""

    enabled: bool
    decay: float | None = None
    tau: float | None = None
    window_steps: float | None = None
    steps: int | None = None
    final_decay: float | None = None


@attrs.frozen(kw_only=True)
class SelectionBlock:
    """How the images were chosen; copied from dataset.json."""

    data_seed: int
    train: str
    val: str
    train_images_requested: int | None
    val_images_requested: int | None


@attrs.frozen(kw_only=True)
class DatasetBlock:
    """Which images and labels."""

    coco_root: str
    dataset_yaml: str
    fingerprint: str
    selection: SelectionBlock
    train_images: int
    val_images: int
    val_fingerprint: str
    classes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class TrainingBlock:
    """The schedule as it ran. `interventions`: what changed the training itself, by name and strength."""

    framework: str
    epochs: int
    batch: int
    effective_batch: int
    steps_per_epoch: int
    seed: int
    data_seed: int
    device: str
    amp: bool
    workers: int
    threads: int
    optimizer: str
    interventions: dict[str, float] = attrs.field(factory=dict)
    overrides: dict[str, str | int | float | bool]


@attrs.frozen(kw_only=True)
class EvaluationBlock:
    """How every number of the run was measured."""

    evaluator: str
    head: Literal["one2one", "one2many"]
    split: str
    conf: float
    iou: float
    max_det: int
    precision: Literal["fp32"]


@attrs.frozen(kw_only=True)
class References:
    """Before any training: floating point, and quantized without training. Not points of a series."""

    fp32: Evaluation | None
    ptq: Evaluation | None


@attrs.frozen(kw_only=True)
class Files:
    """Where the parts of a run lie, relative to run.json."""

    metrics: str = attrs.field(default="metrics.jsonl", validator=inside)
    checkpoint: str | None = attrs.field(default=None, validator=validators.optional(inside))
    ultralytics: str = attrs.field(default="ultralytics", validator=inside)


@attrs.frozen(kw_only=True)
class Run:
    """run.json. Whole only with status "completed"."""

    SCHEMA: ClassVar[str] = "qat-train/run"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    trajectory_id: str
    created_at: str
    status: Literal["running", "completed", "failed"]
    error: str | None = None
    git: Git
    model: ModelBlock
    quantization: QuantizationBlock
    ema: EmaBlock
    dataset: DatasetBlock
    training: TrainingBlock
    evaluation: EvaluationBlock
    references: References
    series: tuple[Series, ...]
    events: tuple[Event, ...] = ()
    files: Files = attrs.field(factory=Files)
    versions: dict[str, str]
    seconds: float = 0.0
