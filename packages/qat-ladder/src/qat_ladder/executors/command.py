"""A long command, and what an executor has to be able to do with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs


def _same(command: "Command") -> tuple[str, ...]:
    return command.argv


@attrs.frozen(kw_only=True)
class Command:
    """A command line whose result is what it leaves in a folder.

    `name` is what people and schedulers know it by. `log` grows by its stderr, in whole lines. `hear` is called with
    each of them, as it comes; what it raises stops the command. `again` is the command line that goes on where an
    attempt was cut off. `folder` is the one that only this command may write into.
    """

    argv: tuple[str, ...]
    name: str
    log: Path
    hear: Callable[[str], None]
    folder: Path
    again: tuple[str, ...] = attrs.field(default=attrs.Factory(_same, takes_self=True))


class Started(Protocol):
    """A command that was started."""

    @property
    def pipe(self) -> int | None:
        """A file descriptor that can be read as soon as there is something to hear; None: ask after `patience`."""

    @property
    def patience(self) -> float:
        """Seconds after which it has to be asked again in any case."""

    def poll(self) -> int | None:
        """The exit code, negative for the signal that ended it; None while it runs."""

    def lines(self) -> list[str]:
        """What it wrote since the last call, without waiting; the rest of it once `poll` has given a code."""

    def ask_to_end(self) -> None:
        """Let it end by itself, so that its last state is whole."""

    def kill(self) -> None:
        """End it now."""

    def close(self) -> None:
        """Forget it, once it has ended."""


class Executor(Protocol):
    """Starts commands."""

    def start(self, command: Command) -> Started:
        """Start a command, or take over one of the same command line that is still at work.

        Raises:
            LadderError: it cannot be started.
        """

    def close(self) -> None:
        """Let go of what the executor holds, once all commands have ended."""
