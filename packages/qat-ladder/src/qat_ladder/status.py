"""`invoke ladder.status`: how far each cell of a run root is."""

from typing import ClassVar

import attrs

import qat_artifacts
from qat_ladder.errors import ConfigError
from qat_ladder.layout import Root
from qat_ladder.plan import Cell, read_plan


@attrs.frozen(kw_only=True)
class _Metrics:
    final_value: float | None


@attrs.frozen(kw_only=True)
class _Summary:
    SCHEMA: ClassVar[str] = "qat-report/run-summary"
    VERSION: ClassVar[str] = "1.0"

    status: str
    metrics: _Metrics


def _state(root: Root, cell: Cell) -> str:
    summary = root.summary(cell.variant, cell.method, cell.seed) / "run_summary.json"
    if summary.exists():
        view = qat_artifacts.read_view(summary, _Summary)
        final = view.metrics.final_value
        return view.status + (f", mAP50-95 {final:.4f}" if final is not None else "")
    run = root.trajectory(cell.variant, cell.arm, cell.seed)
    lines = run / "metrics.jsonl"
    if lines.exists():
        return f"{len(lines.read_text(encoding='utf-8').splitlines())} epochs trained"
    return "waiting"


def describe(root: Root) -> str:
    """One line a cell.

    Raises:
        ConfigError: the root holds no plan.
    """
    plan = read_plan(root)
    if plan is None:
        raise ConfigError(f"{root.path} holds no ladder.json; run `invoke ladder.n --root {root.path}` first")
    return "\n".join(f"{c.variant} {c.method:10} seed {c.seed}: {_state(root, c)}" for c in plan.cells)
