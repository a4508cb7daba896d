"""One trainer on one run, whatever started it: a ladder, a job of a scheduler, a person.

The lock is the kernel's (flock), on a file in the run's folder: it ends with its process, so a killed trainer holds
nobody up. What the file says is who holds it. A network file system may keep such locks to one host; so the note of
another host counts as a lock too, however old, until a person empties the file, or a scheduler that knows the process
to be over. The file stays, empty: a lock on a file that is removed is none.
"""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qat_train import unshared
from qat_train.errors import Busy, ResourceError

FILE = ".trainer"
PATIENCE = 3.0  # seconds: a trainer whose ladder was killed dies with it, but not in the same instant


@contextlib.contextmanager
def sole_trainer(folder: Path) -> Iterator[None]:
    """Keep other trainers out of a run's folder, which is there.

    Raises:
        Busy: one is at work there, or may be on another host; the text names its process, host and start.
        ResourceError: the file system has no locks.
        OSError: the folder cannot be written.
    """
    path = folder / FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    unshared.descriptors.add(descriptor)
    try:
        _acquire(descriptor, folder)
        if (about := _note(descriptor)) and about["host"] != platform.node():
            raise Busy(
                f"{folder}: {_who(about)}, may be training it; look there, a lock does not reach other hosts on every "
                f"file system. If it has ended, remove {path}; or give another folder"
            )
        began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        _write(descriptor, json.dumps({"pid": os.getpid(), "host": platform.node(), "began": began}) + "\n")
        try:
            yield
        finally:
            _write(descriptor, "")
    finally:
        unshared.descriptors.discard(descriptor)
        os.close(descriptor)


def _acquire(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            about = _note(descriptor)
            who = _who(about) if about else "another process"
            raise Busy(f"{folder}: {who}, is training it; wait for it, or give another folder") from error
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise ResourceError(
                    f"{folder}: its file system has no locks; choose a folder on another one"
                ) from error
            raise
        return


def _note(descriptor: int) -> dict[str, Any] | None:
    """What the holder, or the last one that was killed, says of itself."""
    with contextlib.suppress(ValueError):
        found = json.loads(os.pread(descriptor, 4096, 0))
        if isinstance(found, dict):
            return {"pid": "?", "host": "?", "began": "?"} | found
    return None


def _who(about: dict[str, Any]) -> str:
    return f"process {about['pid']} on {about['host']}, since {about['began']}"


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
    os.fsync(descriptor)
