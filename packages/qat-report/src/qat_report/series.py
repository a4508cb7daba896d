"""The one parser of Ultralytics' results.csv.

Ultralytics appends to the file at every epoch, without fsync: a crash leaves a torn tail, a resume repeats epochs and
may repeat the header. What is repaired here is said in `notes`; everything else that is odd is an error with its line.
"""

import math
import re
from itertools import pairwise
from pathlib import Path

import attrs

from qat_report.errors import ReportError
from qat_report.reading import read_whole
from qat_report.records import Event

PRIMARY_METRIC = "metrics/mAP50-95(B)"
_LONGEST_GAP = 10_000  # missing evaluations between two rows; more is no gap but another file, or a hostile one


@attrs.frozen(kw_only=True)
class SeriesPoint:
    """One epoch. `value` None: the cell is empty, NaN or infinite, or the epoch has no row."""

    epoch: int
    value: float | None


@attrs.frozen(kw_only=True)
class Series:
    """One column of a results.csv, with increasing epochs.

    `events` name the epochs with a loss that is not finite; `notes` are sentences on what was repaired or is missing.
    """

    column: str
    points: tuple[SeriesPoint, ...]
    events: tuple[Event, ...]
    notes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class _Row:
    epoch: int
    value: float | None
    bad_losses: tuple[str, ...]


def read_series(path: Path, column: str = PRIMARY_METRIC) -> Series:
    """Read one column of a results.csv.

    Args:
        path: file with a header line, a column `epoch`, and one row an epoch.
        column: name without padding, such as "metrics/mAP50-95(B)" or "train/box_loss".

    Raises:
        ReportError: unreadable, no such column, a row of another width, or a cell that is no number.
    """
    lines, notes, cut = _lines(path)
    if not lines:
        raise ReportError(f"{path}: empty, a header line with an 'epoch' column is expected")
    header = _cells(lines[0])
    for name in ("epoch", column):
        if name not in header:
            raise ReportError(f"{path}:1: no column {name!r}; the columns are {', '.join(header)}")
        if header.count(name) > 1:
            raise ReportError(f"{path}:1: column {name!r} occurs {header.count(name)} times")
    rows: dict[int, _Row] = {}
    for number, line in enumerate(lines[1:], start=2):
        cells = _cells(line)
        if not line.strip():
            continue
        if cells == header:
            notes.append(f"line {number}: header repeated, ignored")
            continue
        if cut and number == len(lines) and (len(cells) < len(header) or header[-1] == column):
            notes.append(f"line {number}: torn last line, ignored")
            continue
        if len(cells) != len(header):
            raise ReportError(f"{path}:{number}: {len(cells)} cells, the header has {len(header)}")
        row = _row(dict(zip(header, cells, strict=True)), column, where=f"{path}:{number}")
        redone = [epoch for epoch in rows if epoch >= row.epoch]
        if redone:
            notes.append(f"line {number}: epoch {row.epoch} again after {max(redone)}; the later rows count")
        rows = {epoch: kept for epoch, kept in rows.items() if epoch < row.epoch} | {row.epoch: row}
    return _series(column, list(rows.values()), notes)


def _lines(path: Path) -> tuple[list[str], list[str], bool]:
    """Physical lines, notes, and whether the last line lacks its end."""
    data = read_whole(path)
    notes = []
    body = data.rstrip(b"\0")
    if len(body) < len(data):
        notes.append(
            f"{len(data) - len(body)} NUL bytes at the end, ignored"
        )  # a crash after the size, before the data
    if b"\0" in body:
        raise ReportError(f"{path}:{body[: body.index(0)].count(10) + 1}: NUL byte inside the file")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReportError(f"{path}:{body[: error.start].count(10) + 1}: not UTF-8") from error
    return text.splitlines(), notes, not text.endswith(("\n", "\r"))


def _cells(line: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(",")]  # no name and no number of this file holds a comma


def _number(text: str, where: str) -> float | None:
    """None for an empty, NaN or infinite cell."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or "_" in text:  # Python reads 0_1 as 1
        raise ReportError(f"{where}: {text!r} is no number")
    return value if math.isfinite(value) else None


def _row(cells: dict[str, str], column: str, *, where: str) -> _Row:
    if not re.fullmatch(r"[0-9]{1,6}", cells["epoch"]):
        raise ReportError(f"{where}, column 'epoch': {cells['epoch']!r:.40} is no epoch number, 0 to 999999")
    losses = {name: text for name, text in cells.items() if name.endswith("loss") and text}
    return _Row(
        epoch=int(cells["epoch"]),
        value=_number(cells[column], f"{where}, column {column!r}"),
        bad_losses=tuple(n for n, text in losses.items() if _number(text, f"{where}, column {n!r}") is None),
    )


def _series(column: str, rows: list[_Row], notes: list[str]) -> Series:
    steps = [later.epoch - earlier.epoch for earlier, later in pairwise(rows)]
    stride = min(steps, default=1)  # some trainers validate every k-th epoch only
    points: list[SeriesPoint] = []
    for row in rows:
        gap = range(points[-1].epoch + stride, row.epoch, stride) if points else range(0)
        if len(gap) > _LONGEST_GAP:
            raise ReportError(
                f"epochs {points[-1].epoch} and {row.epoch} follow each other: more than {_LONGEST_GAP} evaluations "
                "are missing between them; is this the file of one run?"
            )
        if gap:
            notes.append(f"no row between epochs {points[-1].epoch} and {row.epoch}")
        points += [SeriesPoint(epoch=epoch, value=None) for epoch in gap]
        if row.value is None:
            notes.append(f"epoch {row.epoch}: no finite value")
        points.append(SeriesPoint(epoch=row.epoch, value=row.value))
    events = tuple(
        Event(epoch=row.epoch, kind="nan-loss", detail=", ".join(row.bad_losses)) for row in rows if row.bad_losses
    )
    return Series(column=column, points=tuple(points), events=events, notes=tuple(notes))
