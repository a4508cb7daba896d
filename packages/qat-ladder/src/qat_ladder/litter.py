"""What a process that was killed leaves in a run root: temporary files that it never came to rename.

They are never read. A training state takes some hundred megabytes, so they are cleared away before work goes on.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from qat_ladder.layout import Root

# How qat_artifacts and qat-data name what is not whole yet: .NAME.XXXXXXXX.tmp, the middle as `tempfile` draws it.
_UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp", re.DOTALL)
# The lock keeps ladders out, not `invoke export.*` and `invoke report`: what they are writing now was touched of late.
_QUIET = 300.0  # seconds


def clear(root: Root) -> int:
    """Remove temporary files and folders that lie where a ladder writes; returns how many there were.

    What another process may be writing stays: whatever has changed within five minutes, and folders below that have a
    lock of their own. So do files in other folders of the user, who may have chosen any folder as the root.
    """
    before = time.time() - _QUIET
    unfinished = [path for path in _entries(root) if _UNFINISHED.fullmatch(path.name)]
    return sum(_remove(path, before) for path in unfinished)


def _remove(path: Path, before: float) -> bool:
    """Remove what has not changed since a time, in seconds since the epoch; whether it did."""
    try:
        if path.lstat().st_mtime >= before:
            return False
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    except FileNotFoundError:  # its writer lives, and has just renamed it
        return False
    return True


def _entries(root: Root) -> Iterator[Path]:
    """All that lies in folders that a ladder writes files into, none of them behind a link.

    Of the root and its data only the uppermost: prepared data appear whole, by one rename, and hold as many files as
    there are images.
    """
    yield from _listed(root.path)
    for top in (top for top in root.folders() if not top.is_symlink()):
        if top == root.prepared:
            yield from _listed(top)
            continue
        for folder, folders, files in os.walk(top):
            if root.lock.name in files:  # the root of another ladder
                folders.clear()
                continue
            yield from (Path(folder) / name for name in (*folders, *files))
            folders[:] = [name for name in folders if not _UNFINISHED.fullmatch(name)]


def _listed(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())
