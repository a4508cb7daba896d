"""A folder that appears whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qat_data.errors import RequestError


@contextmanager
def published_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out`; rename it to `out` when the block ends well, delete it otherwise.

    Raises:
        RequestError: `out` exists and is not an empty folder.
        OSError: nothing can be written there.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(f"{out} exists and is not an empty folder; choose another --out or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name[:80]}.", suffix=".tmp"))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; choose another --out", str(out)) from error
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp's 0700 would hide the data from the rest of a group
        for path, _, _ in os.walk(temporary):  # folders only, links not followed; files of a label each are not asked
            _sync(Path(path))
        temporary.replace(out)  # an empty `out` is replaced by rename(2)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(out.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
