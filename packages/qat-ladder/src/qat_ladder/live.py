"""Progress of a ladder's training runs: one live table on a terminal, plain lines everywhere else.

The table reads what training writes anyway, metrics.jsonl, once an epoch. Nothing is asked of the training process, and
no thread is started here (see `driving`): the table is drawn between the child's lines and
once a second while there are none, which is also when it takes on a new size of the terminal.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

import qat_artifacts
from qat_ladder.estimate import spell
from qat_ladder.launch import is_epoch, say

State = Literal["waiting", "training", "finishing", "done", "failed", "stopped", "interrupted"]

_STYLES = {"training": "bold cyan", "finishing": "cyan", "done": "green", "failed": "bold red", "stopped": "yellow"}
_AT_WORK = ("training", "finishing")
_NARROWEST = {"state": 8, "epoch": 5, "raw": 6, "ema": 6}
_FRAME = 5  # lines of the terminal that are no row: header, rule, caption, prompt
_WIDE = 100  # columns of a terminal on which a run's whole name leaves room for the rest
_PAUSE = 1.0  # seconds between two frames


class Board:
    """Where progress is shown; this one prints lines as they come."""

    def show(self, line: str) -> None:
        """A line of a training process."""
        say(line)

    def tick(self) -> None:
        """Time has passed."""

    def move(self, folder: Path, state: State) -> None:
        """The training run in `folder` is in another state."""


@attrs.frozen(kw_only=True)
class _Point:
    map50_95: float


@attrs.frozen(kw_only=True)
class _Event:
    kind: str


@attrs.frozen(kw_only=True)
class _Epoch:
    """What the table shows of a line of metrics.jsonl."""

    seconds: float
    raw: _Point | None = None
    ema: _Point | None = None
    events: tuple[_Event, ...] = ()


@attrs.define(kw_only=True)
class _Run:
    """One row: what is known of a training run. `epochs` are those planned, `lines` those that ended."""

    name: str
    folder: Path
    epochs: int
    state: State = "waiting"
    lines: list[_Epoch] = attrs.field(factory=list)
    stamp: int = 0  # of the file when it was read, in nanoseconds

    def read(self) -> None:
        """Take in the epochs that ended since the last reading. What cannot be read is not shown; training goes on."""
        path = self.folder / "metrics.jsonl"
        with contextlib.suppress(OSError, ValueError, qat_artifacts.ArtifactError):
            stamp = path.stat().st_mtime_ns
            if stamp == self.stamp:
                return
            written = path.read_bytes().splitlines()
            if len(written) < len(self.lines):  # the run was started over
                self.lines.clear()
            self.lines += [
                qat_artifacts.structure(qat_artifacts.loads(line), _Epoch, source=str(path), strict=False)
                for line in written[len(self.lines) :]
            ]
            self.stamp = stamp

    def cells(self) -> tuple[str | Text, ...]:
        """The texts of its columns."""
        last = self.lines[-1] if self.lines else None
        return (
            self.name,
            Text(self.state, style=_STYLES.get(self.state, "dim")),
            f"{len(self.lines)}/{self.epochs}",
            _metric(last.raw) if last else "",
            _metric(last.ema) if last else "",
            self._best(),
            self._left(),
            self._events(),
        )

    def _best(self) -> str:
        found = [(point.map50_95, -epoch, name) for epoch, name, point in self._points() if point]
        if not found:
            return ""
        value, epoch, name = max(found)
        return f"{value:.4f} {name} @{-epoch}"

    def _points(self) -> Iterator[tuple[int, str, _Point | None]]:
        for epoch, line in enumerate(self.lines, start=1):
            yield epoch, "raw", line.raw
            yield epoch, "ema", line.ema

    def _left(self) -> str:
        """By the mean of the epochs that ended, less what the one at work has taken so far."""
        if self.state != "training" or not self.lines:
            return ""
        mean = sum(line.seconds for line in self.lines) / len(self.lines)
        begun = min(time.time() - self.stamp / 1e9, mean)
        return spell(max(0.0, mean * (self.epochs - len(self.lines)) - begun))

    def _events(self) -> str:
        kinds = [event.kind for line in self.lines for event in line.events]
        return f"{len(kinds)}, last {kinds[-1]}" if kinds else ""


def _metric(point: _Point | None) -> str:
    return f"{point.map50_95:.4f}" if point else "-"


class LiveTable(Board):
    """A table that is redrawn in place; other lines go above it, and its last state stays on the screen."""

    def __init__(self, console: Console, runs: Mapping[Path, tuple[str, int]]) -> None:
        """Show these runs, nothing drawn yet.

        Args:
            console: an interactive one, on stderr.
            runs: name and number of epochs of each training run, by its folder, in the order of work.
        """
        self._console = console
        self._runs = {folder: _Run(name=name, folder=folder, epochs=n) for folder, (name, n) in runs.items()}
        self._at = 0  # place of the run that changed last
        self._whole = False
        self._drawn = 0.0
        # stdout is not taken over: it may be a pipe, and holds results only.
        self._live = Live(
            get_renderable=self._table, console=console, auto_refresh=False, redirect_stdout=False, transient=False
        )

    def __enter__(self) -> "LiveTable":
        for run in self._runs.values():
            run.read()
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        for run in self._runs.values():
            run.read()
            if run.state in _AT_WORK:
                run.state = "interrupted"
        self._whole = True
        self._live.stop()

    def show(self, line: str) -> None:
        """Epochs are in the table; anything else is printed above it."""
        if is_epoch(line):
            self._draw()
        else:
            say(line)

    def tick(self) -> None:
        """Draw, if the last frame is old enough."""
        if time.monotonic() - self._drawn >= _PAUSE:
            self._draw()

    def move(self, folder: Path, state: State) -> None:
        """Show the new state at once."""
        self._runs[folder].state = state
        self._at = list(self._runs).index(folder)
        self._draw()

    def _draw(self) -> None:
        for number, run in enumerate(self._runs.values()):
            if number == self._at or run.state in _AT_WORK:
                run.read()
        self._live.refresh()
        self._drawn = time.monotonic()

    def _table(self) -> Table:
        runs = list(self._runs.values())
        room = len(runs) if self._whole else max(1, self._console.height - _FRAME)
        first = max(0, min(self._at - room // 2, len(runs) - room))
        shown = runs[first : first + room]
        hidden = [f"{n} {where}" for n, where in ((first, "above"), (len(runs) - first - len(shown), "below")) if n]
        names = short_names([run.name for run in runs]) if self._console.width < _WIDE else {}
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=", ".join(hidden) or None, caption_justify="left")
        for name in ("training run", "state", "epoch", "raw", "ema", "best", "left", "events"):
            narrowest = _NARROWEST.get(name)  # of the columns that a narrow terminal cuts last
            table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=narrowest)
        for run in shown:
            cells = (names.get(run.name, run.name), *run.cells()[1:])
            # Text as it is: rich would take brackets in a name for its markup.
            table.add_row(*(Text(qat_artifacts.printable(cell)) if isinstance(cell, str) else cell for cell in cells))
        return table


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without the folders that all of them begin with: `seed0` for `yolo10n/shared/seed0` among its seeds."""
    parts = [name.split("/") for name in names]
    common = 0
    while parts and all(len(one) > common + 1 and one[common] == parts[0][common] for one in parts):
        common += 1
    return {name: "/".join(one[common:]) for name, one in zip(names, parts, strict=True)}


@contextlib.contextmanager
def board(runs: Mapping[Path, tuple[str, int]], *, plain: bool) -> Iterator[Board]:
    """The table where stderr is a terminal that can redraw (rich decides, by TERM and TTY_*), otherwise lines.

    Args:
        runs: as of `LiveTable`.
        plain: lines in any case.
    """
    console = Console(stderr=True)
    # FORCE_COLOR makes rich take a pipe for a terminal: colours, maybe, but no redrawing.
    if plain or not sys.stderr.isatty() or not console.is_interactive:
        yield Board()
        return
    with LiveTable(console, runs) as table:
        yield table
