"""Products are called as a user calls them: by command line, in a process of their own that never outlives ours."""

import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.errors import InputProblem, LadderError, Unavailable

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
EPOCH = r"epoch (\d+)/(\d+) "  # how qat-train begins the line of a finished epoch
# What is worth showing of a product's stderr; everything goes to the log.
_SHOWN = re.compile(
    rf"({EPOCH}|references: |batch norm statistics |correction: |before correction|after correction|"
    r"layer \d+/\d+ |error: |rollback)"
)
_PATIENCE = 1.0  # seconds without a line before `tick` is called

Say = Callable[[str], None]


def say(line: str) -> None:
    """Progress goes to stderr, at once; of what a child wrote, without what a terminal would obey."""
    print(qat_artifacts.printable(_COLOUR.sub("", line)), file=sys.stderr, flush=True)


def is_epoch(line: str) -> bool:
    """Whether a line, behind the prefix of its run, is that of a finished epoch."""
    return re.search(rf"(^|: ){EPOCH}", line) is not None


def argv(product: str, *arguments: str | Path) -> list[str]:
    """Command line of a product under this interpreter."""
    return [sys.executable, "-m", product.replace("-", "_"), *(str(a) for a in arguments)]


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1  # prctl(2)


def _die_with_parent() -> None:
    """In the child, before it starts: be killed when the parent dies, even by SIGKILL (Linux; elsewhere nothing)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def call(product: str, *arguments: str | Path) -> str:
    """Run a quick command and return its stdout.

    Raises:
        LadderError: it failed; the product's own text and exit code.
    """
    done = run(product, *arguments)
    if done.returncode:
        raise failure(product, done.returncode, done.stderr or done.stdout)
    return done.stdout


def run(product: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a quick command, whatever its exit code."""
    command = argv(product, *arguments)
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_die_with_parent,  # as in `stream`
    )


def failure(product: str, code: int, text: str) -> LadderError:
    """A product's failure as one of ours; a traceback is kept whole, otherwise from its error line on."""
    found = re.search(r"^error: (.*)", text, re.MULTILINE | re.DOTALL)
    shown = found.group(1).strip() if found else text.strip()[-2000:]
    error = (InputProblem if code == Exit.INPUT else Unavailable if code == Exit.ENVIRONMENT else LadderError)(
        f"{product}: {shown}"
    )
    try:
        error.code = Exit(code)
    except ValueError:
        error.code = Exit.BUG
    return error


def stream(
    product: str,
    *arguments: str | Path,
    log: Path,
    prefix: str,
    watch: Say = lambda _: None,
    show: Say = say,
    tick: Callable[[], None] = lambda: None,
) -> int:
    """Run a long command: stderr into `log` (appended), the lines worth seeing to our own stderr as they come.

    Args:
        product: whose command it is.
        *arguments: of that command.
        log: grows by the child's whole stderr.
        prefix: of the lines that are shown.
        watch: reads each of these lines, without the prefix; what it raises stops the child.
        show: how they are shown.
        tick: called at least once a second.

    Returns:
        The exit code. Should we be interrupted, the child is stopped first, so that its last state is whole.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", buffering=1) as sink:  # whole lines: others read along
        process = subprocess.Popen(
            argv(product, *arguments),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # a system call alone, and we start no threads
        )
        assert process.stderr is not None
        try:
            # Bars end in carriage returns, lines in newlines: a bar and the line after it come as one.
            for raw in _lines(process.stderr, tick):
                line = raw.rstrip().rpartition("\r")[2].rpartition("\x1b[K")[2].strip()
                sink.write(line + "\n")
                if _SHOWN.match(line):
                    show(f"{prefix}{line}")
                    watch(line)
            return process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def _lines(pipe: IO[bytes], tick: Callable[[], None]) -> Iterator[str]:
    """What comes through a pipe, line by line; `tick` is called between them and while there are none."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            ready = selector.select(_PATIENCE)
            tick()
            if not ready:
                continue
            if not (chunk := os.read(pipe.fileno(), 1 << 16)):
                break
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")


def error_in(log: Path) -> str:
    """The last error line of a log, for a message."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    return lines[-1] if lines else "no output"
