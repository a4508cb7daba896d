"""The request for a gated run: schema ladder/request.

Its blocks are those of a run's record, as far as they are known before the run; what is not known is None.
"""

from typing import ClassVar, Literal

import attrs


@attrs.frozen(kw_only=True)
class Git:
    """The working tree; None outside a repository."""

    commit: str | None
    branch: str | None
    dirty: bool | None


@attrs.frozen(kw_only=True)
class RequestedModel:
    """Which detector from which file; `imgsz` in pixels, the hash None where the file is not there."""

    variant: str
    checkpoint: str
    checkpoint_sha256: str | None
    imgsz: int


@attrs.frozen(kw_only=True)
class Scale:
    """How scales are set; `lr` is that of learned ones."""

    init: str
    learned: bool
    lr: float | None


@attrs.frozen(kw_only=True)
class Layer:
    """One convolution under the policy; `bits` None: left in floating point."""

    name: str
    type: str
    bits: int | None
    elements: int


@attrs.frozen(kw_only=True)
class RequestedQuantization:
    """What the policy will make of the detector."""

    mode: str
    library: str
    weight_bit_width: int | None
    activation_bit_width: None = None
    granularity: str
    scale: Scale
    policy: str
    layers: tuple[Layer, ...]


@attrs.frozen(kw_only=True)
class Selection:
    """How images are chosen; None asks for all."""

    data_seed: int
    train: str
    val: str
    train_images_requested: int | None
    val_images_requested: int | None


@attrs.frozen(kw_only=True)
class RequestedData:
    """On which images. Fingerprints of None, no classes and no images: not prepared yet."""

    coco_root: str
    dataset_yaml: str
    fingerprint: str | None
    selection: Selection
    train_images: int
    val_images: int
    val_fingerprint: str | None
    classes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class RequestedTraining:
    """The schedule; `seed` is the first of those asked for."""

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
    overrides: dict[str, str | int | float | bool]
    interventions: dict[str, float]


@attrs.frozen(kw_only=True)
class RequestedEvaluation:
    """How it would be measured: as qat-train measures every run; a test holds the two together."""

    evaluator: str
    head: Literal["one2one"] = "one2one"
    split: Literal["val"] = "val"
    conf: float = 0.001
    iou: float = 0.7
    max_det: int = 300
    precision: Literal["fp32"] = "fp32"


@attrs.frozen(kw_only=True)
class RunRequest:
    """request.json. `drawn`: the data are drawn, not real. `averaged`, `corrected`: what `method` reports."""

    SCHEMA: ClassVar[str] = "ladder/request"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    created_at: str
    git: Git
    profile: str
    drawn: bool
    model: RequestedModel
    quantization: RequestedQuantization
    method: str
    averaged: bool
    corrected: bool
    dataset: RequestedData
    training: RequestedTraining
    evaluation: RequestedEvaluation
    versions: dict[str, str]
