"""One ladder at a time in a run root, and who it is."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

import qat_artifacts
from qat_ladder.errors import Busy, Unavailable
from qat_ladder.layout import Root

# After a ladder was killed, its training process dies with it, but not in the same instant.
PATIENCE = 3.0  # seconds
_HELD: set[Path] = set()  # roots that this process holds


@contextmanager
def held(root: Root, *, patience: float = PATIENCE) -> Iterator[None]:
    """Keep other ladders out of a run root. The lock ends with the process, however that ends.

    A block inside another of the same root changes nothing: a gate and the stage it opens are held as one.

    Raises:
        Busy: one is at work there; the text names its process, host and command.
        Unavailable: the root cannot be written.
    """
    place = root.path.absolute()
    if place in _HELD:
        yield
        return
    try:
        root.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(root.lock, timeout=patience)
        lock.acquire()
    except filelock.Timeout as error:
        raise Busy(f"{root.path}: {_holder(root.holder)}; wait for it, or choose --root runs/NAME") from error
    except OSError as error:
        raise Unavailable(f"{root.path} cannot be written: {error.strerror}; choose another --root") from error
    try:
        program = Path(sys.argv[0])
        name = program.parent.name if program.name == "__main__.py" else program.name  # python -m invoke
        command = shlex.join([name, *sys.argv[1:]])
        about = {"pid": os.getpid(), "host": platform.node(), "command": command}
        qat_artifacts.write_text(root.holder, json.dumps(about) + "\n")
        _HELD.add(place)
        yield
    finally:
        _HELD.discard(place)
        root.holder.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError):
        about = json.loads(path.read_text(encoding="utf-8"))
        return f"another ladder is at work here, process {about['pid']} on {about['host']}: {about['command']}"
    return "another ladder is at work here"


def holder(root: Root) -> str | None:
    """Who holds a run root now; None where nobody does."""
    if not root.lock.exists():
        return None
    lock = filelock.FileLock(root.lock, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        return _holder(root.holder)
    lock.release()
    return None
