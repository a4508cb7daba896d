"""qc.json: what a correction did, and the model before and after."""

from typing import ClassVar, Literal

import attrs
from attrs import validators

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
    """One layer that stays uncorrected."""

    name: str
    reason: str


@attrs.frozen(kw_only=True)
class Folding:
    """Agreement of the folded model with the corrected one, see `qat_qc.folding.Folded`."""

    max_abs_error: float
    max_abs_output: float
    codes_changed: int = attrs.field(validator=validators.and_(validators.ge(0), validators.le(0)))


@attrs.frozen(kw_only=True)
class CorrectionRecord:
    """The artifact qat-qc/correction."""

    SCHEMA: ClassVar[str] = "qat-qc/correction"
    VERSION: ClassVar[str] = "1.0"

    task: str
    run_id: str
    weights: Literal["ema", "raw"]
    epochs: int = attrs.field(validator=validators.ge(1))
    lr: float = attrs.field(validator=validators.gt(0.0))
    optimizer: Literal["Adam"]
    bn_stats_fixed: bool
    seed: int = attrs.field(validator=validators.ge(0))
    images: int = attrs.field(validator=validators.ge(1))
    steps: int = attrs.field(validator=validators.ge(1))
    seconds: float
    loss: Loss
    layers: tuple[CorrectedLayer, ...]
    skipped: tuple[SkippedLayer, ...]
    before: Evaluation
    after: Evaluation
    folding: Folding
    checkpoint: str
