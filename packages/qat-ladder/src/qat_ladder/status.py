"""How far a run root is: read from what its folders hold, never from a record of intentions."""

from pathlib import Path
from typing import ClassVar, Literal

import attrs

import qat_artifacts
from qat_ladder.errors import ConfigError
from qat_ladder.launch import error_in
from qat_ladder.layout import Root
from qat_ladder.locking import holder
from qat_ladder.plan import Cell, Plan, read_plan

State = Literal["done", "interrupted", "failed", "stopped", "waiting"]
TrainingState = Literal["running", "completed", "failed"]

_UNCORRECTED = "no correction: "  # how qat-report begins the error of a row whose correction failed


@attrs.frozen(kw_only=True)
class _Metrics:
    final_value: float | None


@attrs.frozen(kw_only=True)
class _Summary:
    SCHEMA: ClassVar[str] = "qat-report/run-summary"
    VERSION: ClassVar[str] = "1.0"

    status: str
    metrics: _Metrics
    error: str | None = None


@attrs.frozen(kw_only=True)
class _Run:
    SCHEMA: ClassVar[str] = "qat-train/run"
    VERSION: ClassVar[str] = "1.0"

    status: TrainingState


@attrs.frozen(kw_only=True)
class CellStatus:
    """`epochs` counts finished epochs of the cell's training run; `reason` says what is left to do, and why."""

    variant: str
    method: str
    seed: int
    state: State
    epochs: int
    final_value: float | None
    reason: str


def cell_status(root: Root, cell: Cell) -> CellStatus:
    """One cell, from its summary, or else from its training run."""
    state, final, reason = _state(root, cell)
    return CellStatus(
        variant=cell.variant,
        method=cell.method,
        seed=cell.seed,
        state=state,
        epochs=epochs_done(root, cell),
        final_value=final,
        reason=reason,
    )


def training_state(run: Path) -> TrainingState | None:
    """What run.json in the folder of a training run says; None where there is none."""
    file = run / "run.json"
    return qat_artifacts.read_view(file, _Run).status if file.exists() else None


def finished_epochs(run: Path) -> int:
    """Of the training run in a folder."""
    lines = run / "metrics.jsonl"
    return lines.read_bytes().count(b"\n") if lines.exists() else 0


def epochs_done(root: Root, cell: Cell) -> int:
    """Finished epochs of the training run that a cell comes from."""
    return finished_epochs(root.trajectory(cell.variant, cell.arm, cell.seed))


def _state(root: Root, cell: Cell) -> tuple[State, float | None, str]:
    summary = root.summary(cell.variant, cell.method, cell.seed) / "run_summary.json"
    run = root.trajectory(cell.variant, cell.arm, cell.seed)
    if summary.exists():
        view = qat_artifacts.read_view(summary, _Summary)
        if view.status.startswith("completed"):
            return "done", view.metrics.final_value, "nothing to do"
        # What a run that goes on again has left behind is older than its lines.
        stopped = f"stopped: doomed after epoch {epochs_done(root, cell)} "
        if view.error is not None and view.error.startswith(stopped):
            return "stopped", None, view.error.removeprefix("stopped: ")
        if view.error is not None and view.error.startswith(_UNCORRECTED) and training_state(run) == "completed":
            return "failed", None, view.error
    trained = training_state(run)
    if trained is None:
        return "waiting", None, "not trained yet"
    if trained == "failed":
        return "failed", None, f"training failed: {error_in(run / 'log.txt')}"
    if trained == "running":
        return "interrupted", None, f"training stopped after epoch {epochs_done(root, cell)}"
    if summary.exists():  # its run was stopped or cut off, and went on for the sake of other rows
        return "interrupted", None, f"trained since its summary was written; name it again: --methods {cell.method}"
    return "interrupted", None, "trained; correction or summary is missing"


def statuses(root: Root, plan: Plan) -> list[CellStatus]:
    """Every cell of a plan, in its order."""
    return [cell_status(root, cell) for cell in plan.cells]


def line(status: CellStatus) -> str:
    """One line for people."""
    number = f", mAP50-95 {status.final_value:.4f}" if status.final_value is not None else ""
    left = "" if status.state == "done" else f": {status.reason}"
    return f"{status.variant} {status.method:14} seed {status.seed}  {status.state}{number}{left}"


def describe(root: Root, *, as_json: bool = False) -> str:
    """Every cell of a run root, and who is at work there.

    Raises:
        ConfigError: the root holds no plan.
    """
    plan = read_plan(root)
    if plan is None:
        raise ConfigError(f"{root.path} holds no ladder.json; run `invoke ladder.n --root {root.path}` first")
    found, busy = statuses(root, plan), holder(root)
    if as_json:
        cells = [qat_artifacts.unstructure(status) for status in found]
        return qat_artifacts.dumps({"root": str(root.path), "busy": busy, "cells": cells}).rstrip()
    done = sum(status.state == "done" for status in found)
    head = [f"{root.path}: {done} of {len(found)} cells done"] + ([busy] if busy else [])
    return "\n".join([*head, *map(line, found)])
