"""qc.json: what a correction did, and the model before and after."""

from typing import Any, ClassVar, Literal, get_args

import attrs
from attrs import validators

Stage = Literal["bn", "qc"]  # in the order in which they run
STAGES: tuple[Stage, ...] = get_args(Stage)
_unit = validators.and_(validators.ge(0.0), validators.le(1.0))


@attrs.frozen(kw_only=True)
class Evaluation:
    """One evaluation of one set of weights, as the model's owner measured it."""

    map50_95: float = attrs.field(validator=_unit)
    map50: float = attrs.field(validator=_unit)
    precision: float = attrs.field(validator=_unit)
    recall: float = attrs.field(validator=_unit)
    per_class: dict[str, float]
    weights_sha256: str
    seconds: float


@attrs.frozen(kw_only=True)
class Loss:
    """Loss of the first and of the last batch."""

    first: float
    last: float


@attrs.frozen(kw_only=True)
class CorrectedLayer:
    """One corrected layer; the ranges say how far it moved from gamma 1, beta 0."""

    name: str
    form: Literal["batch-norm", "bias"]
    channels: int
    gamma_min: float
    gamma_max: float
    beta_abs_max: float


@attrs.frozen(kw_only=True)
class SkippedLayer:
    """One layer that a stage leaves as it is."""

    stage: Stage
    name: str
    reason: str


@attrs.frozen(kw_only=True)
class Folding:
    """Agreement of the folded model with the corrected one, see `qat_qc.folding.Folded`."""

    max_abs_error: float
    max_abs_output: float
    codes_changed: int = attrs.field(validator=validators.and_(validators.ge(0), validators.le(0)))


def _ordered(names: tuple[str, ...]) -> Any:
    """Some of `names`, each once, in their order."""

    def check(_: object, attribute: "attrs.Attribute[Any]", value: tuple[str, ...]) -> None:
        if list(value) != [name for name in names if name in value]:
            raise ValueError(f"{attribute.name} must hold some of {', '.join(names)}, once and in that order")

    return check


@attrs.frozen(kw_only=True)
class CorrectionRecord:
    """The artifact qat-qc/correction. What belongs to a stage that did not run is None, empty or 0.

    `batch_norms` were re-estimated; `bn_stats_fixed`: none was, statistics are those of the run. `images` is the size
    of the training set, each of whose images a stage visits once an epoch; `seconds` is all stages' time.
    """

    SCHEMA: ClassVar[str] = "qat-qc/correction"
    VERSION: ClassVar[str] = "1.0"

    task: str
    run_id: str
    weights: Literal["ema", "raw"]
    stages: tuple[Stage, ...] = attrs.field(validator=[validators.min_len(1), _ordered(STAGES)])
    trained: tuple[Literal["gamma", "beta"], ...] = attrs.field(validator=_ordered(("gamma", "beta")))
    batch_norms: int = attrs.field(validator=validators.ge(0))
    epochs: int | None = attrs.field(validator=validators.optional(validators.ge(1)))
    lr: float | None = attrs.field(validator=validators.optional(validators.gt(0.0)))
    optimizer: Literal["Adam"] | None
    bn_stats_fixed: bool
    seed: int = attrs.field(validator=validators.ge(0))
    images: int = attrs.field(validator=validators.ge(1))
    steps: int = attrs.field(validator=validators.ge(0))
    seconds: float
    loss: Loss | None
    layers: tuple[CorrectedLayer, ...]
    skipped: tuple[SkippedLayer, ...]
    before: Evaluation
    after: Evaluation
    folding: Folding | None
    checkpoint: str

    def __attrs_post_init__(self) -> None:
        corrected = "qc" in self.stages
        for name in ("trained", "epochs", "lr", "optimizer", "steps", "loss", "layers", "folding"):
            if bool(getattr(self, name)) != corrected:
                state = "is missing" if corrected else "is set"
                raise ValueError(f"{name} {state}, though stages are {', '.join(self.stages)}")
        if bool(self.batch_norms) != ("bn" in self.stages) or self.bn_stats_fixed == ("bn" in self.stages):
            raise ValueError(
                f"{self.batch_norms} batch norms re-estimated, bn_stats_fixed {self.bn_stats_fixed}: "
                f"stages are {', '.join(self.stages)}"
            )
        if stray := [layer.stage for layer in self.skipped if layer.stage not in self.stages]:
            raise ValueError(f"skipped names a layer of stage {stray[0]}, which did not run")
