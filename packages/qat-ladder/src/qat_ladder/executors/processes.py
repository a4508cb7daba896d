"""The default executor: every command a process group of this machine, which never outlives its ladder."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from qat_ladder.executors.command import Command

_PATIENCE = 1.0  # seconds
_AT_ITS_END = 0.02  # seconds between its last word and its exit code
_MOST = 1 << 20  # bytes taken in at once: a command that writes without end must not hold up the others
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1  # prctl(2)


def in_child() -> None:
    """In the child, before it starts: be killed when the parent dies, even by SIGKILL (Linux; elsewhere nothing).

    SIGUSR2 is a scheduler's warning of a time limit, sent to every process of a job; the one that started us acts on
    it.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A command as a process group of its own. Bars end in carriage returns, lines in newlines: bars are left out."""

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        """Start it; `log` is appended to."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("a", encoding="utf-8", buffering=1)  # whole lines: others read along
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,  # a group in the background may not read the terminal
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            process_group=0,  # its loaders end with it; a terminal's Ctrl-C reaches the ladder alone, which asks it
            preexec_fn=in_child,  # noqa: PLW1509  # system calls alone, and a ladder has no threads of its own
        )
        assert self._process.stderr is not None
        self._stderr = self._process.stderr
        os.set_blocking(self._stderr.fileno(), False)
        self._open = True
        self._rest = b""

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._process.pid

    @property
    def pipe(self) -> int | None:
        """Its stderr, as long as it is open."""
        return self._stderr.fileno() if self._open else None

    @property
    def patience(self) -> float:
        """In seconds."""
        return _PATIENCE if self._open else _AT_ITS_END

    def poll(self) -> int | None:
        """The exit code of the process itself; what a child of it holds open is not waited for."""
        return self._process.poll()

    def lines(self) -> list[str]:
        """New lines, in the log too."""
        taken = self._rest + (self._read() if self._open else b"")
        *whole, self._rest = taken.split(b"\n")
        if self._process.returncode is not None and self._rest:
            whole.append(self._rest)
            self._rest = b""
        found = [_last_shown(line.decode(errors="replace")) for line in whole]
        for line in found:
            self._log.write(line + "\n")
        return found

    def _read(self) -> bytes:
        read = bytearray()
        with contextlib.suppress(BlockingIOError):
            while len(read) < _MOST:
                chunk = os.read(self._stderr.fileno(), 1 << 16)
                if not chunk:
                    self._open = False
                    break
                read += chunk
        return bytes(read)

    def ask_to_end(self) -> None:
        """SIGTERM to the command; its group is its own affair until it is killed."""
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to its group."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """Close log and pipe."""
        self._stderr.close()
        self._open = False
        self._log.close()


def _last_shown(raw: str) -> str:
    """A line as a person saw it last: without the bars that stood in its place before."""
    return raw.rstrip().rpartition("\r")[2].rpartition("\x1b[K")[2].strip()


class Here:
    """Runs commands on this machine."""

    def start(self, command: Command) -> Process:
        """Start a command."""
        return Process(command.argv, command.log)

    def close(self) -> None:
        """Nothing is held."""
