"""What the run roots of a campaign show, as qat-report and qat-train wrote it down; no statistic is computed anew."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import attrs
from cattrs import override

import qat_artifacts
from qat_ladder.campaign.file import Block
from qat_ladder.campaign.speed import RunView
from qat_ladder.layout import Root
from qat_ladder.stage import compare, summaries


@attrs.frozen(kw_only=True)
class _Interval:
    low: float
    high: float
    level: float


@attrs.frozen(kw_only=True)
class Paired:
    """Differences of final values, paired by seed."""

    n: int
    mean: float
    interval: _Interval | None


@attrs.frozen(kw_only=True)
class Cell:
    """A method over seeds, as in comparison.json."""

    variant: str
    method: str
    seeds: tuple[int, ...]
    counted_seeds: tuple[int, ...]
    mean: float | None
    minimum: float | None
    maximum: float | None
    std: float | None
    worst: float | None
    delta_fp32: float | None
    delta_baseline: Paired | None
    classes: dict[str, str]


@attrs.frozen(kw_only=True)
class _Row:
    variant: str
    method: str
    seed: int
    run_class: Annotated[str, override(rename="class")]
    final_value: float | None
    summary: str


@attrs.frozen(kw_only=True)
class _Comparison:
    SCHEMA: ClassVar[str] = "qat-report/comparison"
    VERSION: ClassVar[str] = "1.0"

    rows: tuple[_Row, ...]
    cells: tuple[Cell, ...]
    verdict: tuple[str, ...]
    notes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class _References:
    fp32: float | None
    ptq: float | None


@attrs.frozen(kw_only=True)
class _Layer:
    bits: int | None
    elements: int


@attrs.frozen(kw_only=True)
class _Quantization:
    mode: str
    library: str
    layers: tuple[_Layer, ...]

    def average(self) -> float | None:
        """Bits of a weight that has a width; None in a floating-point run."""
        widths = [(layer.bits, layer.elements) for layer in self.layers if layer.bits is not None]
        return sum(b * n for b, n in widths) / sum(n for _, n in widths) if widths else None


@attrs.frozen(kw_only=True)
class _Files:
    run_json: str


@attrs.frozen(kw_only=True)
class _Summary:
    SCHEMA: ClassVar[str] = "qat-report/run-summary"
    VERSION: ClassVar[str] = "1.0"

    trajectory_id: str
    quantization: _Quantization
    metrics: _References
    artifacts: _Files


@attrs.frozen(kw_only=True)
class Result:
    """One seed of a row. `counted`: it enters the mean. `seconds` of its training run, which other rows may share.

    `mode`: such as "w4a16"; `library`: whose quantizers they were, as `run.json` names it; `bits`: the average width of
    a quantized weight, None in floating point.
    """

    method: str
    seed: int
    final_value: float | None
    counted: bool
    mode: str
    library: str
    bits: float | None
    fp32: float | None
    ptq: float | None
    trajectory: str
    seconds: float | None


@attrs.frozen(kw_only=True)
class Evidence:
    """Of one block. `comparison` is None before its first row; `results` in the order of the cells."""

    block: Block
    comparison: Path | None
    cells: tuple[Cell, ...] = ()
    results: tuple[Result, ...] = ()
    verdict: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, method: str) -> list[Result]:
        """Results of one row, by seed."""
        return [result for result in self.results if result.method == method]

    def bits(self, method: str) -> float | None:
        """Average width of a row's quantized weights, which its seeds share."""
        return next((result.bits for result in self.of(method)), None)

    def planned(self, method: str) -> set[int]:
        """Seeds that the campaign asks for."""
        return {seed for rows in self.block.rows if method in rows.methods for seed in rows.seeds}

    def missing(self) -> dict[str, list[int]]:
        """Planned seeds of each row that there is no summary of."""
        found: dict[str, list[int]] = {}
        for method in dict.fromkeys(method for rows in self.block.rows for method in rows.methods):
            seeds = self.planned(method) - {result.seed for result in self.of(method)}
            if seeds:
                found[method] = sorted(seeds)
        return found

    def best(self) -> Cell | None:
        """The quantized row with the highest mean of those with the most seeds whose every planned seed counts.

        One seed that ended high is no better row than the mean of three.
        """
        floating = {result.method for result in self.results if result.mode == "fp32"}
        whole = [cell for cell in self.cells if cell.method not in floating and self.whole(cell)]
        return highest(whole)

    def whole(self, cell: Cell) -> bool:
        """Whether every seed that a row has or is planned to have is in its mean."""
        return cell.mean is not None and set(cell.counted_seeds) == set(cell.seeds) | self.planned(cell.method)

    def references(self, name: str) -> list[tuple[float, tuple[str, ...]]]:
        """Values of a reference, "fp32" or "ptq", each with the rows that it is the reference of; most rows first."""
        rows: dict[float, dict[str, None]] = {}
        for result in self.results:
            value = getattr(result, name)
            if value is not None and (name == "fp32" or result.mode != "fp32"):
                rows.setdefault(value, {})[result.method] = None
        return sorted(((value, tuple(of)) for value, of in rows.items()), key=lambda pair: (-len(pair[1]), pair[0]))

    def starts(self, method: str) -> list[float]:
        """PTQ of one row, ascending; seeds begin alike, so more than one value says that they were measured apart."""
        return sorted({r.ptq for r in self.of(method) if r.ptq is not None and r.mode != "fp32"})

    def seconds(self) -> list[float]:
        """Of each training run, once."""
        return list({r.trajectory: r.seconds for r in self.results if r.seconds is not None}.values())


def highest(cells: Sequence[Cell]) -> Cell | None:
    """The highest mean of the cells with the most counted seeds; None of none."""
    return max(cells, key=lambda cell: (len(cell.counted_seeds), cell.mean or 0.0), default=None)


def refresh(root: Path, blocks: Iterable[Block]) -> None:
    """Have the comparison of each block written anew that lacks a summary, or holds one that has changed or is gone.

    A stage writes it after its last row; one that was killed, or is at work, has rows that are not in it yet.

    Raises:
        LadderError: qat-report refuses the summaries of a block.
    """
    for block in blocks:
        own = Root(root / block.name)
        path = own.path / "comparison.json"
        there = {qat_artifacts.sha256_file(file) for part in summaries(own) for file in part.rglob("run_summary.json")}
        if there and (not path.exists() or there - _read(path) or _gone(own, block)):
            compare(own)


def _read(comparison: Path) -> set[str]:
    return {ref.sha256 for ref in qat_artifacts.read_header(comparison).inputs}


def _gone(root: Root, block: Block) -> bool:
    rows = qat_artifacts.read_view(root.path / "comparison.json", _Comparison).rows
    return any(row.variant == block.variant and not (root.path / row.summary).exists() for row in rows)


def gather(root: Path, blocks: Iterable[Block]) -> list[Evidence]:
    """The evidence of each block below the root of a campaign.

    Raises:
        ArtifactError: a comparison, summary or run cannot be read; the text names the file.
    """
    return [_of_block(block, Root(root / block.name)) for block in blocks]


def _of_block(block: Block, root: Root) -> Evidence:
    path = root.path / "comparison.json"
    if not path.exists():
        return Evidence(block=block, comparison=None)
    found = qat_artifacts.read_view(path, _Comparison)
    cells = tuple(cell for cell in found.cells if cell.variant == block.variant)
    rows = [row for row in found.rows if row.variant == block.variant]
    results = [_result(row, cell, root) for cell in cells for row in _rows_of(cell, rows)]
    return Evidence(
        block=block,
        comparison=path,
        cells=cells,
        results=tuple(results),
        verdict=found.verdict,
        notes=found.notes,
    )


def _rows_of(cell: Cell, rows: Sequence[_Row]) -> list[_Row]:
    return sorted((row for row in rows if row.method == cell.method), key=lambda row: row.seed)


def _result(row: _Row, cell: Cell, root: Root) -> Result:
    path = root.path / row.summary
    summary = qat_artifacts.read_view(path, _Summary)
    run = path.parent / summary.artifacts.run_json
    seconds = qat_artifacts.read_view(run, RunView).seconds if run.exists() else None
    return Result(
        method=row.method,
        seed=row.seed,
        final_value=row.final_value,
        counted=row.seed in cell.counted_seeds,
        mode=summary.quantization.mode,
        library=summary.quantization.library,
        bits=summary.quantization.average(),
        fp32=summary.metrics.fp32,
        ptq=summary.metrics.ptq,
        trajectory=summary.trajectory_id,
        seconds=seconds or None,
    )
