"""What a ladder run is configured by, with exact types and ranges."""

import math
import re
from typing import Any, Literal

import attrs
from attrs import validators

_fraction = validators.and_(validators.ge(0.0), validators.le(1.0))
_at_least_1 = validators.ge(1)
_at_least_0 = validators.ge(0)


def _positive(_: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"must be a finite number above 0, found {value}")


def _rate(_: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if not 0.0 < value <= 1.0:
        raise ValueError(f"must lie in (0, 1], found {value}")


def _strengths(_: object, attribute: "attrs.Attribute[dict[str, float]]", value: dict[str, float]) -> None:
    for strength in value.values():
        _positive(None, attribute, strength)


def _number_of_images(_: object, attribute: "attrs.Attribute[int]", value: int | str) -> None:
    if isinstance(value, int) and value < 1:
        raise ValueError(f"must be at least 1, or 'all', found {value}")


def _selection(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if value not in ("hash", "first") and not value.startswith("list:"):
        raise ValueError(f"must be hash, first or list:FILE, found {value!r}")


def _trust(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if value and not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        raise ValueError(f"must be sha256: and 64 hexadecimal digits, found {value!r}")


@attrs.frozen(kw_only=True)
class Model:
    """[model]: which detector. `demo_checkpoint` belongs to the drawn data.

    `trust_checkpoint` is the "sha256:<hex>" of a .pt file whose code may run; "" for none.
    """

    variant: str
    architecture: str
    checkpoint: str
    demo_checkpoint: str = ""
    trust_checkpoint: str = attrs.field(default="", validator=_trust)


@attrs.frozen(kw_only=True)
class Data:
    """[data]: which images; see `qat-data prepare --help`."""

    coco_root: str
    train_images: int | Literal["all"] = attrs.field(validator=_number_of_images)
    val_images: int | Literal["all"] = attrs.field(validator=_number_of_images)
    seed: int = attrs.field(validator=_at_least_0)
    train_selection: str = attrs.field(validator=_selection)
    val_selection: str = attrs.field(validator=_selection)
    train_json: str
    train_dir: str
    val_json: str
    val_dir: str


@attrs.frozen(kw_only=True)
class Training:
    """[training]: schedule and machine."""

    epochs: int = attrs.field(validator=_at_least_1)
    imgsz: int = attrs.field(validator=[validators.ge(32), validators.le(4096)])
    batch: int = attrs.field(validator=_at_least_1)
    lr0: float = attrs.field(validator=_rate)
    lrf: float = attrs.field(validator=_fraction)
    optimizer: Literal["AdamW", "Adam", "SGD"]
    warmup_epochs: float = attrs.field(validator=_at_least_0)
    weight_decay: float = attrs.field(validator=_fraction)
    mosaic: float = attrs.field(validator=_fraction)
    close_mosaic: int = attrs.field(validator=_at_least_0)
    workers: int = attrs.field(validator=_at_least_0)
    amp: bool
    device: str = attrs.field()
    threads: int = attrs.field(validator=_at_least_0)

    @imgsz.validator
    def _stride(self, _: object, value: int) -> None:
        if value % 32:
            raise ValueError(f"must be a multiple of 32, found {value}")

    @device.validator
    def _known(self, _: object, value: str) -> None:
        if not re.fullmatch(r"auto|cpu(,cpu)*|[0-9]+(,[0-9]+)*", value):
            raise ValueError(
                "must be cpu, auto, a CUDA index such as 0, or several that train one run together, such as 0,1; "
                f"found {value!r}"
            )
        if len(set(indices := value.split(","))) < len(indices) and "cpu" not in indices:
            raise ValueError(f"a device is named twice in {value!r}")

    @property
    def ranks(self) -> int:
        """How many devices, and so processes, train a run together."""
        return self.device.count(",") + 1

    @property
    def first_device(self) -> str:
        """The one that does what is no training: corrections, scans, measurements."""
        return self.device.partition(",")[0]


@attrs.frozen(kw_only=True)
class Quantization:
    """[quantization]: weights only; activations are never quantized. 32 bits are floating point, a control.

    `quantizer`: ours, or that of a library to compare with; of those, Ultralytics' quantizes activations too.
    """

    bits: int = attrs.field()
    granularity: Literal["per-channel", "per-tensor"]
    init: Literal["max", "mse", "outputs", "gptq"]
    learned: bool
    scale_lr: float = attrs.field(validator=_positive)
    policy: str
    quantizer: Literal["qat-train", "modelopt", "torch-ao", "brevitas", "ultralytics"] = "qat-train"

    @bits.validator
    def _width(self, _: object, value: int) -> None:
        if value != 32 and not 2 <= value <= 8:
            raise ValueError(f"must lie in [2, 8], or be 32 for floating point, found {value}")


@attrs.frozen(kw_only=True)
class Ema:
    """[ema]: "auto" follows from the number of steps."""

    decay: float | Literal["auto"] = attrs.field()
    tau: float | Literal["auto"] = attrs.field()

    @decay.validator
    def _below_one(self, _: object, value: float | str) -> None:
        if not isinstance(value, str) and not 0.0 < value < 1.0:
            raise ValueError(f"must be 'auto' or lie in (0, 1), found {value}")

    @tau.validator
    def _steps(self, _: object, value: float | str) -> None:
        if not isinstance(value, str) and not 0.0 < value < math.inf:
            raise ValueError(f"must be 'auto' or a finite number of steps above 0, found {value}")


@attrs.frozen(kw_only=True)
class Qc:
    """[qc]: Quantization Correction, and batch norm re-estimation (bn); of methods whose `correction` is on."""

    stages: Literal["qc", "bn", "bn,qc"]
    train: Literal["gamma,beta", "gamma", "beta"]
    epochs: int = attrs.field(validator=_at_least_1)
    lr: float = attrs.field(validator=_positive)


@attrs.frozen(kw_only=True)
class Pretrain:
    """[pretrain]: floating-point training."""

    epochs: int = attrs.field(validator=_at_least_1)
    lr0: float = attrs.field(validator=_rate)
    lrf: float = attrs.field(validator=_fraction)
    warmup_epochs: float = attrs.field(validator=_at_least_0)
    mosaic: float = attrs.field(validator=_fraction)
    close_mosaic: int = attrs.field(validator=_at_least_0)


@attrs.frozen(kw_only=True)
class Gate:
    """[gate]: which policy decides about yolo10m."""

    policy: str


@attrs.frozen(kw_only=True)
class Execution:
    """[executor]: where training runs are started, and how many at once; see docs/how-to/scale-out.md."""

    name: Literal["local", "slurm", "ray"] = "local"
    jobs: int = attrs.field(default=0, validator=_at_least_0)
    slots: str = attrs.field(default="")
    retries: int = attrs.field(default=2, validator=_at_least_0)

    @slots.validator
    def _devices(self, _: object, value: str) -> None:
        slot = r"(cpu(\+cpu)*|[0-9]+(\+[0-9]+)*)"
        if value and not re.fullmatch(rf"{slot}(,{slot})*", value):
            raise ValueError(
                "must be devices with commas between them, a run on each, such as 0,1, or 0+1,2+3 for runs of two "
                f"devices; found {value!r}"
            )
        slots = [one.split("+") for one in value.split(",")]
        if len({len(one) for one in slots}) > 1:  # another number of devices is another run
            raise ValueError(f"slots of one size are needed, found {value!r}")
        if any(len(set(one)) < len(one) and "cpu" not in one for one in slots):
            raise ValueError(f"a slot names a device twice in {value!r}")


@attrs.frozen(kw_only=True)
class Ray:
    """[ray]: the cluster, and what one training run takes of it."""

    address: str = "auto"
    cpus: int = attrs.field(default=1, validator=_at_least_1)
    gpus: float = attrs.field(default=1.0, validator=validators.ge(0.0))


@attrs.frozen(kw_only=True)
class Method:
    """[method]: which weights count, and whether they are corrected, as [qc] says."""

    name: str
    weights: Literal["raw", "ema"]
    correction: bool


@attrs.frozen(kw_only=True)
class Config:
    """A whole configuration.

    [interventions] is open: strengths by name; qat-train knows the names. So is [slurm]: what submitit takes for a job.
    """

    model: Model
    data: Data
    training: Training
    quantization: Quantization
    interventions: dict[str, float] = attrs.field(factory=dict, validator=_strengths)
    ema: Ema
    qc: Qc
    pretrain: Pretrain
    gate: Gate
    executor: Execution = attrs.field(factory=Execution)
    slurm: dict[str, str | int | float | bool] = attrs.field(factory=dict)
    ray: Ray = attrs.field(factory=Ray)
    method: Method

    @property
    def demo(self) -> bool:
        """Whether the drawn data set is used."""
        return self.data.coco_root == "demo"
