"""What a gate reads of a run summary, and how summaries are found.

The classes are a narrow view of qat-report/run-summary 1.x: every field is required, all others are ignored.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

import attrs
from cattrs import override

import qat_artifacts
from qat_gate.errors import EvidenceError

FILE_NAME = "run_summary.json"

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
    """How scales are initialised, and whether training changes them."""

    init: str
    learned: bool


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
class Method:
    """`sets`: keys that the method itself defines, so that other methods may differ in them."""

    variant: str
    sets: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Selection:
    """How the validation images were chosen."""

    val: str


@attrs.frozen(kw_only=True)
class Dataset:
    """Which images and labels."""

    fingerprint: str
    val_fingerprint: str
    selection: Selection
    classes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Training:
    """The part of the schedule that repetitions share, and the seed, which they do not."""

    seed: int
    epochs: int
    effective_batch: int
    amp: bool


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
    """One evaluation; `value` None where it gave no finite number."""

    epoch: int
    value: float | None


@attrs.frozen(kw_only=True)
class Metrics:
    """The primary metric, in [0, 1], as stated (`best_value`, `final_value`) and as measured (`history`)."""

    primary_name: str
    best_value: float | None
    best_epoch: int | None
    final_value: float | None
    fp32: float | None
    history: tuple[Point, ...]


@attrs.frozen(kw_only=True)
class Stability:
    """The verdict on the series: every class that applies, worst first, and the worst (or the status of a cut run)."""

    collapsed: bool
    run_class: Annotated[RunClass, override(rename="class")]
    findings: tuple[Fault, ...]

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
    def label(self) -> str:
        """Such as "yolo10n ema+qc seed 0"."""
        return f"{self.model.variant} {self.method.variant} seed {self.training.seed}"


def find_summaries(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Every summary file in `paths`: files as given, folders searched to any depth; each file once, sorted."""
    found: dict[Path, Path] = {}
    for path in paths:
        for file in path.rglob(FILE_NAME) if path.is_dir() else (path,):
            found.setdefault(file.resolve(), file)
    return tuple(sorted(found.values()))


def read_summaries(files: Iterable[Path]) -> Mapping[Path, RunSummary]:
    """Read the summaries, by file.

    Raises:
        qat_artifacts.ArtifactError: a file is no run summary.
        EvidenceError: two files carry one run id.
    """
    summaries = {file: qat_artifacts.read_view(file, RunSummary) for file in files}
    first: dict[str, Path] = {}
    for file, summary in summaries.items():
        other = first.setdefault(summary.run_id, file)
        if other != file:
            raise EvidenceError(f"run id {summary.run_id!r} occurs twice: in {other} and in {file}; give each run once")
    return summaries
