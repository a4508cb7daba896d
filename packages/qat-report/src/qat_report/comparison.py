"""Methods side by side over seeds: schema qat-report/comparison."""

import os
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import attrs
from cattrs import override

import qat_artifacts
from qat_report.summary import RunClass, Status, Variant
from qat_report.views import Criterion, DecisionView


@attrs.frozen(kw_only=True)
class Row:
    """One summary. `comparable` False: its settings differ from the variant's, see `notes`."""

    run_id: str
    trajectory_id: str
    variant: Variant
    method: str
    seed: int
    status: Status
    run_class: Annotated[RunClass, override(rename="class")]
    best_value: float | None
    best_epoch: int | None
    final_value: float | None
    collapsed: bool
    comparable: bool
    notes: tuple[str, ...]
    summary: str


@attrs.frozen(kw_only=True)
class BootstrapInterval:
    """Percentile interval of a mean. "exhaustive": of all n**n resamples; "resampled": of 10,000 drawn ones."""

    low: float
    high: float
    level: float = 0.95
    method: Literal["exhaustive", "resampled"]


@attrs.frozen(kw_only=True)
class PairedDelta:
    """Final values of a method minus those of another, paired by seed: `differences` by seed, and over them.

    `better` and `worse` count seeds with a difference above and below 0; `worst_seed` is the seed of the `minimum`, the
    lowest of several. `interval` is None for one seed, `sign_test_p` (two-sided) for fewer than 5.
    """

    n: int
    mean: float
    minimum: float
    maximum: float
    interval: BootstrapInterval | None
    better: int
    worse: int
    sign_test_p: float | None
    worst_seed: int
    differences: dict[str, float]


@attrs.frozen(kw_only=True)
class Cell:
    """A method of a variant over its comparable seeds.

    `mean`, `minimum`, `maximum`, `spread` (maximum - minimum), `std` (n - 1) and the deltas are over `counted_seeds`:
    comparable runs that ended with a number that can be believed. `worst` is over all comparable runs that ended
    with a final value, collapsed ones included. `agree`: all comparable seeds have one class; None with fewer than two.
    `delta_ema` is the difference to `ema`, of `ema+qc` alone.
    """

    variant: Variant
    method: str
    seeds: tuple[int, ...]
    counted_seeds: tuple[int, ...]
    mean: float | None
    minimum: float | None
    maximum: float | None
    spread: float | None
    std: float | None
    worst: float | None
    delta_fp32: float | None
    delta_ptq: float | None
    delta_baseline: PairedDelta | None
    delta_ema: PairedDelta | None
    agree: bool | None
    classes: dict[str, RunClass]


@attrs.frozen(kw_only=True)
class Reference:
    """FP32 and PTQ of a variant, mean over its comparable trajectories."""

    variant: Variant
    fp32: float | None
    ptq: float | None


@attrs.frozen(kw_only=True)
class AttributionStep:
    """What the final value gains from one row to the next, over runs of one trajectory each: `differences` by seed.

    `start` and `end` are methods, or "fp32" and "ptq": here the references of the trajectory, not the control of that
    name. `interval` is None for one seed, and where both are references that every seed shares: one measurement, not n.
    """

    start: Annotated[str, override(rename="from")]
    end: Annotated[str, override(rename="to")]
    n: int
    mean: float
    interval: BootstrapInterval | None
    differences: dict[str, float]


@attrs.frozen(kw_only=True)
class Attribution:
    """Where the final value of a variant comes from.

    `explained` says how much of QC's gain the re-estimation of batch norm statistics explains.
    """

    variant: Variant
    steps: tuple[AttributionStep, ...]
    explained: str


@attrs.frozen(kw_only=True)
class GateOutcome:
    """What a gate decided; `gate` is the path of its artifact.

    `override`: why the run was started against a NO-GO.
    """

    passed: bool
    reason: str
    override: str | None
    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]
    gate: str


@attrs.frozen(kw_only=True)
class Claim:
    """A sentence and the rows it rests on, by run id: change one, and the sentence has to be derived again.

    `id` is "start", "help" or "certainty" for the answers that head the page, with their `question`; for a sentence of
    the verdict it is variant/method.
    """

    id: str
    question: str | None
    text: str
    rows: tuple[str, ...]


@attrs.frozen(kw_only=True)
class ExportSizes:
    """Bytes of the files, as in qat-train/export: the same graph, packed and as ONNX of several widths."""

    packed: int = attrs.field(validator=attrs.validators.gt(0))
    onnx_int4: int = attrs.field(validator=attrs.validators.gt(0))
    onnx_int8: int = attrs.field(validator=attrs.validators.gt(0))
    onnx_fp16: int = attrs.field(validator=attrs.validators.gt(0))
    onnx_fp32: int = attrs.field(validator=attrs.validators.gt(0))


@attrs.frozen(kw_only=True)
class ExportLatency:
    """Median milliseconds per image on the CPU of whoever exported; `int4_folded_ms` with the weights computed once."""

    imgsz: int
    threads: int
    fp32_ms: float = attrs.field(validator=attrs.validators.gt(0))
    int4_ms: float = attrs.field(validator=attrs.validators.gt(0))
    int4_folded_ms: float = attrs.field(validator=attrs.validators.gt(0))


@attrs.frozen(kw_only=True)
class ExportPictures:
    """Images with the detections of FP32 and of INT4, side by side in one JPEG; `file` is its path.

    `fp32` and `int4` count the objects found in each image from the score `confidence` on.
    """

    file: str
    sha256: str
    confidence: float
    fp32: tuple[int, ...]
    int4: tuple[int, ...]


@attrs.frozen(kw_only=True)
class ExportRow:
    """What a row's weights became as files; `export` is the path of its artifact, mAP50-95 in [0, 1]."""

    run_id: str
    export: str
    map50_95_torch: float
    map50_95_onnx: float
    sizes: ExportSizes
    latency: ExportLatency | None
    pictures: ExportPictures | None = None


@attrs.frozen(kw_only=True)
class Choice:
    """Which summaries were asked for, of those that were found; an empty list means all. `left_out` counts the rest."""

    variants: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    left_out: int


@attrs.frozen(kw_only=True)
class Comparison:
    """comparison.json. `verdict` says what was and was not shown; `notes` what is left out of the means, and why.

    Since 1.1: `claims` is the ledger of the verdict and of the answers that head the page, `exports` what the rows
    became as files, `choice` the filters, `pages` the SHA-256 of the pages written with it, by name. Since 1.2: the
    `pictures` of an export.
    """

    SCHEMA: ClassVar[str] = "qat-report/comparison"
    VERSION: ClassVar[str] = "1.2"

    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    references: tuple[Reference, ...]
    attribution: tuple[Attribution, ...]
    verdict: tuple[str, ...]
    notes: tuple[str, ...]
    yolo10m_allowed: GateOutcome | None
    claims: tuple[Claim, ...] = ()
    exports: tuple[ExportRow, ...] = ()
    choice: Choice | None = None
    pages: dict[str, str] = attrs.field(factory=dict)


def read_gate(gate: Path, folder: Path) -> GateOutcome:
    """The decision in a gate.json, for a page in `folder`."""
    found = qat_artifacts.read_view(gate, DecisionView)
    return GateOutcome(
        passed=found.passed,
        reason=found.reason,
        override=found.override,
        criteria=found.criteria,
        notes=found.notes,
        gate=Path(os.path.relpath(gate.resolve(), folder.resolve())).as_posix(),
    )
