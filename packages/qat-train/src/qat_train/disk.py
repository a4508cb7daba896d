"""Room on the disk: asked for before the work, not found missing after it."""

import shutil
from pathlib import Path

from qat_train.errors import ResourceError

# fp32 tensors as large as the model: raw, averaged, two moments of Adam, and three that count what codes do.
_TENSORS = 7
_STATES = 2  # a new state is whole before the one before it goes


def bytes_of_run(parameters: int) -> int:
    """An upper estimate of what a run of a model with so many parameters holds on the disk at once."""
    return _STATES * _TENSORS * 4 * parameters


def require_room(folder: Path, needed: int) -> None:
    """Refuse a folder whose disk has less than `needed` bytes free; what the folder holds already counts.

    Raises:
        ResourceError: with both numbers.
    """
    held = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    free = shutil.disk_usage(folder).free
    if free + held < needed:
        raise ResourceError(
            f"{folder}: {needed} bytes are needed on the disk for the state of this run, {free + held} are there; "
            "free some, or choose another folder"
        )
