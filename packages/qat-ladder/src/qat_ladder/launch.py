"""Products are called as a user calls them: by command line, in a process of their own that never outlives ours."""

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.driving import Work, drive
from qat_ladder.errors import InputProblem, LadderError, Unavailable
from qat_ladder.executors.command import Command, Executor
from qat_ladder.executors.processes import Here, in_child

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
EPOCH = r"epoch (\d+)/(\d+) "  # how qat-train begins the line of a finished epoch
# What is worth showing of a product's stderr; everything goes to the log.
_SHOWN = re.compile(
    rf"({EPOCH}|references: |batch norm statistics |correction: |before correction|after correction|"
    r"layer \d+/\d+ |error: |rollback)"
)

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
        preexec_fn=in_child,
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


def command(
    product: str,
    *arguments: str | Path,
    folder: Path,
    log: Path,
    prefix: str,
    watch: Say = lambda _: None,
    show: Say = say,
    again: Sequence[str | Path] | None = None,
) -> Command:
    """A long command of a product: its stderr goes into `log`, the lines worth seeing to our own as they come.

    Args:
        product: whose command it is.
        *arguments: of that command.
        folder: that it alone writes into.
        log: grows by the child's whole stderr.
        prefix: of the lines that are shown.
        watch: reads each of these lines, without the prefix; what it raises stops the child.
        show: how they are shown.
        again: the arguments that go on where an attempt was cut off; the same ones without.
    """

    def hear(line: str) -> None:
        if _SHOWN.match(line):
            show(f"{prefix}{line}")
            watch(line)

    return Command(
        argv=tuple(argv(product, *arguments)),
        again=tuple(argv(product, *(arguments if again is None else again))),
        name=f"{product} {prefix.rstrip(': ')}".strip(),
        log=log,
        hear=hear,
        folder=folder,
    )


def stream(
    product: str,
    *arguments: str | Path,
    log: Path,
    prefix: str,
    watch: Say = lambda _: None,
    show: Say = say,
    tick: Callable[[], None] = lambda: None,
    executor: Executor | None = None,
) -> int:
    """Run a long command that nothing else runs beside; as `command`, with `tick` called at least once a second.

    Returns:
        The exit code. Should we be interrupted, the child is stopped first, so that its last state is whole.
    """
    wanted = command(product, *arguments, folder=log.parent, log=log, prefix=prefix, watch=watch, show=show)

    def alone(_place: None) -> Work[int]:
        return (yield wanted)

    (code,) = drive([alone], executor or Here(), [None], tick)
    return code


def error_in(log: Path) -> str:
    """The last error line of a log, for a message."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    return lines[-1] if lines else "no output"
