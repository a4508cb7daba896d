"""Facts about a run that a summary repeats from its sources. Reader and writer of the same words share these classes.

A field has no default: one that a source misspells is an error, never filled in. Fields that came later are the
exception; their absence means what the default says.
"""

from typing import Any, Literal

import attrs

CorrectionStage = Literal["bn", "qc"]  # in the order in which they run
CORRECTIONS: tuple[tuple[CorrectionStage, ...], ...] = (("bn",), ("qc",), ("bn", "qc"))
Trained = Literal["gamma", "beta"]


def unit_interval(instance: object, attribute: "attrs.Attribute[Any]", value: float | None) -> None:
    """Attrs validator: a metric in [0, 1], or None."""
    if value is not None and not 0.0 <= value <= 1.0:
        raise ValueError(f"{attribute.name} {value} is outside [0, 1]")


@attrs.frozen(kw_only=True)
class Git:
    """The working tree the training code ran from; None outside a repository."""

    commit: str | None
    branch: str | None
    dirty: bool | None


@attrs.frozen(kw_only=True)
class Model:
    """Which detector started from which file; `imgsz` in pixels."""

    variant: str
    checkpoint: str
    checkpoint_sha256: str
    imgsz: int = attrs.field(validator=attrs.validators.gt(0))


@attrs.frozen(kw_only=True)
class Scale:
    """How scales are initialised, and whether a gradient changes them; `lr` is the rate of learned ones."""

    init: str
    learned: bool
    lr: float | None = None


@attrs.frozen(kw_only=True)
class Layer:
    """One layer; `bits` None: left in floating point. `elements` counts weights."""

    name: str
    type: str
    bits: int | None
    elements: int


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
class Selection:
    """How images were chosen. `data_seed` is not the seed of the run."""

    data_seed: int
    train: str
    val: str
    train_images_requested: int | None
    val_images_requested: int | None


@attrs.frozen(kw_only=True)
class Dataset:
    """Which images and labels."""

    coco_root: str
    dataset_yaml: str
    fingerprint: str
    selection: Selection
    train_images: int
    val_images: int
    val_fingerprint: str
    classes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Training:
    """The schedule as it ran. `interventions`: what changed training itself, by name, with its strength."""

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
    interventions: dict[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened on the way. `kind` is open: a newer writer may know more kinds."""

    epoch: int
    kind: str
    detail: str
