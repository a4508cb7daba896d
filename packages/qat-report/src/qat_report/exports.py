"""Exported 4-bit models of compared rows: sizes and latencies as `qat-train export` recorded them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import attrs

import qat_artifacts
from qat_report.comparison import ExportLatency, ExportRow, ExportSizes
from qat_report.finding import relative
from qat_report.grouping import Entry
from qat_report.numbers import ABSENT, count, metric
from qat_report.pictures import PicturesView, find_pictures
from qat_report.records import unit_interval
from qat_report.tables import Table

_MB = 1e6  # bytes


@attrs.frozen(kw_only=True)
class _Measured:
    map50_95: float = attrs.field(validator=unit_interval)


@attrs.frozen(kw_only=True)
class _Accuracy:
    torch: _Measured
    onnx: _Measured


@attrs.frozen(kw_only=True)
class ExportView:
    """export.json. Before 1.1 there were no pictures."""

    SCHEMA: ClassVar[str] = "qat-train/export"
    VERSION: ClassVar[str] = "1.1"

    run_id: str
    method: str
    weights_sha256: str
    accuracy: _Accuracy
    sizes: ExportSizes
    latency: ExportLatency | None
    pictures: PicturesView | None = None
    files_sha256: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Exports:
    """`rows` in the order of the compared rows; `files` are their artifacts in that order, then their pictures.

    `notes` are on exports and pictures that are left out.
    """

    rows: tuple[ExportRow, ...] = ()
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def read_exports(files: Iterable[Path], entries: Sequence[Entry], *, out: Path) -> Exports:
    """The exports that belong to compared rows, by run id and method.

    Args:
        files: export.json files; of another schema, or of runs that are not compared, they are left alone.
        entries: the compared summaries.
        out: the folder of the comparison; paths are relative to it.

    Raises:
        ArtifactError: a file cannot be read.
    """
    found: list[tuple[int, Path, ExportRow]] = []
    notes = []
    for path in files:
        if qat_artifacts.read_header(path).schema != ExportView.SCHEMA:
            continue
        view = qat_artifacts.read_view(path, ExportView)
        place, run_id = relative(path, out), f"{view.run_id}/{view.method}"
        rows = [i for i, entry in enumerate(entries) if _bare(entry.summary.run_id) == _bare(run_id)]
        if not rows:
            continue
        same = [i for i in rows if entries[i].summary.evaluation.weights_sha256 in (None, view.weights_sha256)]
        if not same:
            notes.append(f"{place} is left out: the final value of {run_id} was measured with other weights")
            continue
        pictures, note = find_pictures(path, view.pictures, view.files_sha256, out=out)
        notes += [note] if note else []
        row = ExportRow(
            run_id=entries[same[0]].summary.run_id,
            export=place,
            map50_95_torch=view.accuracy.torch.map50_95,
            map50_95_onnx=view.accuracy.onnx.map50_95,
            sizes=view.sizes,
            latency=view.latency,
            pictures=pictures,
        )
        found.append((same[0], path, row))
    found.sort(key=lambda item: (item[0], item[2].export))
    files = [path for _, path, _ in found]
    files += [path.parent / Path(row.pictures.file).name for _, path, row in found if row.pictures]
    return Exports(rows=tuple(row for _, _, row in found), files=tuple(files), notes=tuple(sorted(notes)))


def exports_table(rows: Sequence[ExportRow]) -> Table | None:
    """Accuracy, size and latency of the exported models; None without any."""
    columns = (
        "row", "mAP50-95 torch", "mAP50-95 ONNX", "packed MB", "ONNX INT4 MB", "INT8 MB", "FP16 MB", "FP32 MB",
        "FP32 / INT4", "latency FP32 ms", "INT4 ms", "INT4 folded ms", "measured at",
    )  # fmt: skip
    return Table(columns=columns, rows=tuple(_export_cells(row) for row in rows)) if rows else None


def _export_cells(row: ExportRow) -> tuple[str, ...]:
    sizes, latency = row.sizes, row.latency
    return (
        row.run_id,
        metric(row.map50_95_torch),
        metric(row.map50_95_onnx),
        *(f"{size / _MB:.2f}" for size in (sizes.packed, sizes.onnx_int4, sizes.onnx_int8)),
        *(f"{size / _MB:.2f}" for size in (sizes.onnx_fp16, sizes.onnx_fp32)),
        f"{sizes.onnx_fp32 / sizes.onnx_int4:.2f}",
        *(
            (f"{latency.fp32_ms:.1f}", f"{latency.int4_ms:.1f}", f"{latency.int4_folded_ms:.1f}")
            if latency
            else (ABSENT,) * 3
        ),
        f"{latency.imgsz} px, {count(latency.threads, 'thread')}" if latency else ABSENT,
    )


def _bare(run_id: str) -> str:
    """Without the name of the root, which a comparison of several roots puts before it."""
    return run_id.rpartition(":")[2]
