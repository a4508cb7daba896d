"""Files that others may have written, read whole: up to a size, so that a hostile or wrong one is refused unread."""

from pathlib import Path

from qat_report.errors import ReportError

MAX_BYTES = 1 << 28  # as much as an artifact may have; a line an epoch takes some kilobytes


def read_whole(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ReportError: it cannot be read, or is larger than `MAX_BYTES`.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ReportError(f"{path}: {size} bytes, more than the {MAX_BYTES} that such a file may have")
        return path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror or error}") from error
