"""Files that are either whole or absent, also after a power cut."""

import errno
import hashlib
import os
import tempfile
from pathlib import Path


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` atomically: temporary file beside it, fsync, rename, fsync of the folder.

    Raises:
        OSError: it names `path`, and for a full disk the bytes needed and free, or that it has no inode left. The old
            file stands, nothing beside it.
    """
    try:
        _replace(path, data)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            # The folder itself may be what could not be made. Of inodes some file systems count none (f_files is 0).
            disk = os.statvfs(next(folder for folder in path.absolute().parents if folder.exists()))
            room = f"{len(data)} bytes are needed, {disk.f_bavail * disk.f_frsize} are free"
            error.strerror = f"{error.strerror}: {'no inodes are left' if disk.f_files > 0 == disk.f_favail else room}"
        error.filename = str(path)
        raise


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)  # mkstemp's 0600 would hide results from the rest of a group
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # without it the rename itself can be lost
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, as `sha256sum` prints it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
