"""Methods side by side over seeds: schema qat-report/comparison."""

import os
from pathlib import Path
from typing import Annotated, ClassVar

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
class PairedDelta:
    """Final values of a method minus those of the baseline, paired by seed: `differences` by seed, and over them."""

    mean: float
    minimum: float
    maximum: float
    differences: dict[str, float]


@attrs.frozen(kw_only=True)
class Cell:
    """A method of a variant over its comparable seeds.

    `mean`, `minimum`, `maximum`, `spread` (maximum - minimum), `std` (n - 1) and the deltas are over `counted_seeds`:
    comparable runs that ended with a number that can be believed. `worst` is over all comparable runs that ended
    with a final value, collapsed ones included. `agree`: all comparable seeds have one class; None with fewer than two.
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
    agree: bool | None
    classes: dict[str, RunClass]


@attrs.frozen(kw_only=True)
class Reference:
    """FP32 and PTQ of a variant, mean over its comparable trajectories."""

    variant: Variant
    fp32: float | None
    ptq: float | None


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
class Comparison:
    """comparison.json. `verdict` says what was and was not shown; `notes` what is left out of the means, and why."""

    SCHEMA: ClassVar[str] = "qat-report/comparison"
    VERSION: ClassVar[str] = "1.0"

    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    references: tuple[Reference, ...]
    verdict: tuple[str, ...]
    notes: tuple[str, ...]
    yolo10m_allowed: GateOutcome | None


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
