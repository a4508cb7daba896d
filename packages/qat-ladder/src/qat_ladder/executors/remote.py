"""A command on another host: what runs there, and how a ladder follows it from here.

Both hosts see the same files under the same names, the Python environment among them. A ladder hears a command through
its log, and a command that was cut off goes on from what lies in its folder, on whatever host.
"""

import contextlib
import signal
from pathlib import Path
from typing import Protocol

import attrs

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.driving import Work, drive
from qat_ladder.executors.command import Command
from qat_ladder.executors.processes import Here
from qat_ladder.launch import say

# In the folder of a run: who trains it. `qat-train run` refuses a run that another host is at work on.
TRAINER = ".trainer"
_CUT_OFF = (Exit.INTERRUPTED, Exit.TERMINATED)  # somebody asked a command to end that we let run: a scheduler
_PATIENCE = 1.0  # seconds between two looks at a log


@attrs.frozen(kw_only=True)
class Attempt:
    """What is done on the other host. `again`: the scheduler says that an attempt before this one is over."""

    argv: tuple[str, ...]
    log: Path
    folder: Path
    name: str
    again: bool = False

    def perform(self) -> int:
        """Run the command to its end as a process group of this host; its exit code."""
        if self.again:
            # Its note may be of another host, which no command overrules; a scheduler that ended it does.
            with contextlib.suppress(FileNotFoundError):
                (self.folder / TRAINER).write_text("", encoding="utf-8")
        command = Command(argv=self.argv, name=self.name, log=self.log, folder=self.folder, hear=lambda _: None)

        def alone(_place: None) -> Work[int]:
            return (yield command)

        (code,) = drive([alone], Here(), [None])
        return code


@attrs.frozen
class Lost:
    """A job that ended without an exit code, and why."""

    why: str


class Job(Protocol):
    """An attempt, as its scheduler knows it."""

    @property
    def title(self) -> str:
        """Such as "Slurm job 17"."""

    def outcome(self) -> int | Lost | None:
        """Its exit code, or that it was lost; None while it waits or runs."""

    def cancel(self) -> None:
        """Take it out of the queue, or let it end."""


class Scheduler(Protocol):
    """Takes attempts."""

    def submit(self, attempt: Attempt) -> Job:
        """Queue an attempt.

        Raises:
            Unavailable: it was not taken.
        """


class Followed:
    """A command as a job, and as another one where that was cut off; heard through its log."""

    pipe = None
    patience = _PATIENCE

    def __init__(self, command: Command, scheduler: Scheduler, *, retries: int, adopted: Job | None = None) -> None:
        """Submit it, unless a job of it is at work already; `retries`: how often it is submitted anew."""
        self._command, self._scheduler, self._left = command, scheduler, retries
        self._heard = command.log.stat().st_size if command.log.exists() else 0  # bytes of the log
        self._rest = b""
        self._code: int | None = None
        self._asked = False
        command.log.parent.mkdir(parents=True, exist_ok=True)
        self.job = adopted or self._submit(again=False)
        say(f"{command.name}: {self.job.title}{', at work already' if adopted else ''}")

    def _submit(self, *, again: bool) -> Job:
        command = self._command
        argv = command.again if again else command.argv
        return self._scheduler.submit(
            Attempt(argv=argv, log=command.log, folder=command.folder, name=command.name, again=again)
        )

    def poll(self) -> int | None:
        """The exit code; a job that was cut off is followed by another one first, while there are retries."""
        if self._code is None:
            self._code = self._judge(self.job.outcome())
        return self._code

    def _judge(self, outcome: int | Lost | None) -> int | None:
        if outcome is None:
            return None
        if isinstance(outcome, int) and (self._asked or (outcome >= 0 and outcome not in _CUT_OFF)):
            return outcome
        if self._asked:
            return Exit.TERMINATED
        why = f"{self.job.title} {_told(outcome)}"
        if self._left:
            self._left -= 1
            self.job = self._submit(again=True)
            say(f"{self._command.name}: {why}; goes on as {self.job.title}, {self._left} more if need be")
            return None
        with self._command.log.open("a", encoding="utf-8") as log:
            log.write(f"error: {qat_artifacts.printable(why)}, and so did those before it (executor.retries)\n")
        return Exit.CELL_FAILED

    def lines(self) -> list[str]:
        """New lines of its log."""
        with contextlib.suppress(FileNotFoundError), self._command.log.open("rb") as log:
            log.seek(self._heard)
            read = log.read()
            self._heard += len(read)
            *whole, self._rest = (self._rest + read).split(b"\n")
            return [line.decode(errors="replace") for line in whole]
        return []

    def ask_to_end(self) -> None:
        """Cancel the job."""
        self._asked = True
        if self.poll() is None:
            self.job.cancel()

    def kill(self) -> None:
        """Cancel it once more; a scheduler ends by force what does not, and is not waited for."""
        self.job.cancel()
        self._code = Exit.TERMINATED

    def close(self) -> None:
        """Nothing is held."""


def _told(outcome: int | Lost) -> str:
    """What became of a job that was cut off, as the end of a sentence."""
    if isinstance(outcome, Lost):
        return f"was lost: {outcome.why}"
    if outcome in _CUT_OFF:
        return "was asked to end by its scheduler"
    name = signal.Signals(-outcome).name if -outcome in set(signal.Signals) else f"signal {-outcome}"
    return f"had its command killed by {name}{', perhaps for memory' if name == 'SIGKILL' else ''}"
