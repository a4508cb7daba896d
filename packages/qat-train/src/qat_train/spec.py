"""The run specification: one TOML file that says everything a run depends on."""

import importlib.resources
import math
from pathlib import Path
from typing import Any, Literal

import attrs
import tomli
from attrs import validators

import qat_artifacts
from qat_train.errors import SpecError
from qat_train.run import Init, Series
from qat_train.trust import parse_trust


def _positive(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{attribute.name} must be a finite number above 0, found {value}")


def _rate(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0.0 < value <= 1.0:  # Ultralytics takes no more, and says so only once it trains
        raise ValueError(f"{attribute.name} must lie in (0, 1], found {value}")


_fraction = validators.and_(validators.ge(0.0), validators.le(1.0))


@attrs.frozen(kw_only=True)
class RunKey:
    """[run]: identity, seed, and which weights each epoch validates."""

    run_id: str
    trajectory_id: str
    seed: int = attrs.field(validator=validators.ge(0))
    series: tuple[Series, ...] = attrs.field(default=("raw", "ema"), validator=validators.min_len(1))


@attrs.frozen(kw_only=True)
class ModelKey:
    """[model]: a .pt file, or "scratch:<architecture>"; "sha256:<hex>" of a file whose code may run, "" for none."""

    variant: str
    checkpoint: str
    trust_checkpoint: str = attrs.field(default="")

    @trust_checkpoint.validator
    def _hash(self, _: Any, value: str) -> None:
        if value:
            parse_trust(value, "trust_checkpoint")


@attrs.frozen(kw_only=True)
class DataKey:
    """[data]: a dataset.json of qat-data."""

    dataset: str


@attrs.frozen(kw_only=True)
class TrainingKey:
    """[training]: schedule and augmentation.

    `device` is cpu, auto, a CUDA index, or several devices that train the run together (see `qat_train.ranks`), each
    with its share of `batch` in a process of its own. `threads` are of each process; 0 shares out every core.
    """

    epochs: int = attrs.field(validator=validators.ge(1))
    imgsz: int = attrs.field(validator=validators.and_(validators.ge(32), validators.le(4096)))
    batch: int = attrs.field(validator=validators.ge(1))
    lr0: float = attrs.field(validator=_rate)
    lrf: float = attrs.field(validator=_fraction)
    optimizer: Literal["AdamW", "Adam", "SGD"] = "AdamW"
    warmup_epochs: float = attrs.field(default=0.0, validator=validators.ge(0.0))
    mosaic: float = attrs.field(default=0.0, validator=_fraction)
    close_mosaic: int = attrs.field(default=0, validator=validators.ge(0))
    workers: int = attrs.field(default=0, validator=validators.ge(0))
    amp: bool = False
    device: str = "auto"
    weight_decay: float = attrs.field(default=5e-4, validator=_fraction)
    threads: int = attrs.field(default=0, validator=validators.ge(0))

    @imgsz.validator
    def _check_stride(self, _: Any, value: int) -> None:
        if value % 32:
            raise ValueError(f"imgsz must be a multiple of 32, found {value}")


@attrs.frozen(kw_only=True)
class QuantizationKey:
    """[quantization]: 2 to 8 bits, or 32 for a floating-point run. `scale_lr` is that of a learned amax.

    `quantizer`: ours, or that of a peer to compare with (see `qat_train.peers`).
    """

    bits: int = 4
    granularity: Literal["per-channel", "per-tensor"] = "per-channel"
    init: Init = "mse"
    learned: bool = False
    scale_lr: float = attrs.field(default=1e-5, validator=_positive)
    policy: str = "default"
    quantizer: Literal["qat-train", "modelopt", "torch-ao", "brevitas", "ultralytics"] = "qat-train"

    def __attrs_post_init__(self) -> None:
        if self.bits != 32 and not 2 <= self.bits <= 8:
            raise ValueError(f"bits must lie in [2, 8], or be 32 for a floating-point run, found {self.bits}")

    @property
    def enabled(self) -> bool:
        """False for a floating-point run."""
        return self.bits != 32


@attrs.frozen(kw_only=True)
class EmaKey:
    """[ema]: "auto" derives window and ramp from the number of steps (see `qat_train.averaging`)."""

    enabled: bool = True
    decay: float | Literal["auto"] = "auto"
    tau: float | Literal["auto"] = "auto"

    def __attrs_post_init__(self) -> None:
        if self.decay != "auto" and not 0.0 < self.decay < 1.0:
            raise ValueError(f"decay must be 'auto' or lie in (0, 1), found {self.decay}")
        if self.tau != "auto" and not 0.0 < self.tau < math.inf:
            raise ValueError(f"tau must be 'auto' or a finite number of steps above 0, found {self.tau}")


@attrs.frozen(kw_only=True)
class ReferencesKey:
    """[references]: a folder where FP32 and PTQ are kept, once per checkpoint and data set."""

    directory: str | None = None


@attrs.frozen(kw_only=True)
class RunSpec:
    """A whole specification. Paths in it are absolute after `read_spec`.

    [interventions] holds strengths by name; the names are the modules of `qat_train.interventions`.
    """

    run: RunKey
    model: ModelKey
    data: DataKey
    training: TrainingKey
    quantization: QuantizationKey = attrs.field(factory=QuantizationKey)
    ema: EmaKey = attrs.field(factory=EmaKey)
    references: ReferencesKey = attrs.field(factory=ReferencesKey)
    interventions: dict[str, float] = attrs.field(factory=dict)
    overrides: dict[str, str | int | float | bool] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if "ema" in self.run.series and not self.ema.enabled:
            raise ValueError("run.series names 'ema' while ema.enabled is false")
        known = intervention_names()
        for name, strength in self.interventions.items():
            if name not in known:
                raise ValueError(f"interventions.{name}: unknown, known are {', '.join(known)}")
            if not (math.isfinite(strength) and strength > 0):
                raise ValueError(f"interventions.{name} must be a finite number above 0, found {strength}")
        if (strength := self.interventions.get("frozen_norms", 1.0)) != 1.0:
            raise ValueError(f"interventions.frozen_norms must be 1, the whole training, found {strength:g}")
        if "following" in self.interventions:
            if self.interventions["following"] > 1:
                raise ValueError(
                    f"interventions.following is a share of the way, above 0 up to 1, found "
                    f"{self.interventions['following']:g}"
                )
            if self.quantization.learned:
                raise ValueError("interventions.following moves fixed scales; set quantization.learned = false")
            if not self.quantization.enabled:
                raise ValueError("quantization.bits = 32 has no scales; leave interventions.following out")
            if "freezing" in self.interventions:  # a frozen weight is a multiple of the scale that would follow it
                raise ValueError("interventions.following and interventions.freezing move each other without end")
        if self.quantization.learned and self.training.optimizer not in ("Adam", "AdamW"):
            raise ValueError(
                "quantization.learned = true needs training.optimizer Adam or AdamW, whose steps do not depend on the "
                f"size of a scale's gradient; found {self.training.optimizer}"
            )
        if not self.quantization.enabled and self.quantization.learned:
            raise ValueError("quantization.bits = 32 has no scales; set quantization.learned = false")


def intervention_names() -> tuple[str, ...]:
    """Interventions that ship with this package: the modules of `qat_train.interventions` but for what they share."""
    folder = importlib.resources.files("qat_train") / "interventions"
    helpers = ("__init__", "annealing", "base", "teacher")
    names = (item.name.removesuffix(".py") for item in folder.iterdir() if item.name.endswith(".py"))
    return tuple(sorted(name for name in names if name not in helpers))


def read_spec(path: Path) -> RunSpec:
    """Read and check a run.toml; relative paths are taken from its folder.

    Raises:
        SpecError: unreadable file or any wrong key; all faults in one text.
    """
    try:
        raw = tomli.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or nested too deeply
        raise SpecError(f"{path}: {error}") from error
    try:
        spec = qat_artifacts.structure(raw, RunSpec, source=str(path))
    except qat_artifacts.InvalidArtifact as error:
        raise SpecError(str(error)) from error
    folder = path.resolve().parent
    checkpoint = spec.model.checkpoint
    if not checkpoint.startswith("scratch:"):
        checkpoint = str(folder / checkpoint)
    directory = spec.references.directory
    policy = spec.quantization.policy
    return attrs.evolve(
        spec,
        model=attrs.evolve(spec.model, checkpoint=checkpoint),
        data=attrs.evolve(spec.data, dataset=str(folder / spec.data.dataset)),
        quantization=attrs.evolve(
            spec.quantization, policy=str(folder / policy) if policy.endswith(".toml") else policy
        ),
        references=attrs.evolve(spec.references, directory=str(folder / directory) if directory else None),
    )
