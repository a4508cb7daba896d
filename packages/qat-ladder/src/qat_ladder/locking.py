"""One ladder at a time in a run root, and who it is.

The lock is the kernel's (flock): it ends with its process, so nothing stale can be left, whoever has the number of that
process now. A file system without such locks holds no run root. What the lock cannot do is reach other hosts on every
network file system. So the holder's note counts too: one of another host is never overruled, by age or otherwise, but
by a person who removes it. A container that is started again has another host's name unless it was given one.
"""

import datetime
import inspect
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

import qat_artifacts
from qat_ladder.errors import Busy, Unavailable
from qat_ladder.launch import say
from qat_ladder.layout import Root
from qat_ladder.litter import clear

# After a ladder was killed, its training process dies with it, but not in the same instant.
PATIENCE = 3.0  # seconds
_HELD: set[Path] = set()  # roots that this process holds
# Where flock is missing, later filelocks would take to a file that outlives its process, unless told not to.
_KERNEL: dict[str, Any] = {
    name: False for name in inspect.signature(filelock.FileLock.__init__).parameters if name == "fallback_to_soft"
}


@contextmanager
def held(root: Root, *, patience: float = PATIENCE) -> Iterator[None]:
    """Keep other ladders out of a run root. The lock ends with the process, however that ends.

    A block inside another of the same root changes nothing: a gate and the stage it opens are held as one. What killed
    processes left half written is cleared away (see `litter`): no other ladder writes here now.

    Raises:
        Busy: one is at work there, or may be on another host; the text names its process, host, start and command.
        Unavailable: the root cannot be written.
    """
    place = root.path.absolute()
    if place in _HELD:
        yield
        return
    try:
        root.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(root.lock, timeout=patience, **_KERNEL)
        lock.acquire()
    except filelock.Timeout as error:
        raise Busy(f"{root.path}: {_holder(root.holder)}; wait for it, or choose --root runs/NAME") from error
    except OSError as error:
        raise Unavailable(f"{root.path} cannot be written: {error.strerror}; choose another --root") from error
    try:
        _take_over(root)
        clear(root)
        program = Path(sys.argv[0])
        name = program.parent.name if program.name == "__main__.py" else program.name  # python -m invoke
        command = shlex.join([name, *sys.argv[1:]])
        began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        about = {"pid": os.getpid(), "host": platform.node(), "began": began, "command": command}
        qat_artifacts.write_text(root.holder, json.dumps(about) + "\n")
        _HELD.add(place)
        try:
            yield
        finally:
            _HELD.discard(place)
            root.holder.unlink(missing_ok=True)
    finally:
        lock.release()


def _note(path: Path) -> dict[str, Any] | None:
    """What the last holder left; None where it left nothing that can be read."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return {"pid": "?", "host": "?", "began": "?", "command": "?"} | found
    return None


def _elsewhere(about: dict[str, Any]) -> bool:
    return bool(about["host"] != platform.node())


def _take_over(root: Root) -> None:
    """With the lock in hand: say whose end left its note behind.

    Raises:
        Busy: it was written on another host, where the lock may not reach.
    """
    about = _note(root.holder)
    if about is None:
        return
    who = f"process {about['pid']} on {about['host']}, since {about['began']}"
    if _elsewhere(about):
        raise Busy(
            f"{root.path}: {who}, may be at work here: {about['command']}; look there, a lock does not reach other "
            f"hosts on every file system. If it has ended, remove {root.holder}; or choose --root runs/NAME"
        )
    say(f"{root.path}: taken over from {who}, which was killed")


def _holder(path: Path) -> str:
    about = _note(path)
    if about is None:
        return "another ladder is at work here"
    return (
        f"another ladder is at work here, process {about['pid']} on {about['host']}, since {about['began']}: "
        f"{about['command']}"
    )


def holder(root: Root) -> str | None:
    """Who holds a run root now; None where nobody does."""
    if not root.lock.exists():
        return None
    lock = filelock.FileLock(root.lock, timeout=0, **_KERNEL)
    try:
        lock.acquire()
    except filelock.Timeout:
        return _holder(root.holder)
    except OSError:  # a root that cannot be written, such as an archive: nobody works there
        return None
    lock.release()
    about = _note(root.holder)
    return _holder(root.holder) if about is not None and _elsewhere(about) else None
