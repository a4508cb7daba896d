"""What a process that was killed leaves in a run root: temporary files that it never came to rename.

They are never read. A training state takes some hundred megabytes, so they are cleared away before work goes on.
"""

import os
import shutil
from pathlib import Path

from qat_ladder.layout import Root

_BEGINS, _ENDS = ".", ".tmp"  # how qat_artifacts and qat-data name what is not whole yet


def clear(root: Root) -> int:
    """Remove temporary files and folders below a run root whose lock is held; returns how many there were.

    Prepared data is not searched: it appears whole, by one rename, and holds as many files as there are images.
    """
    found = 0
    for folder, folders, files in os.walk(root.path):
        here = Path(folder)
        for name in (name for name in (*folders, *files) if name.startswith(_BEGINS) and name.endswith(_ENDS)):
            path = here / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            found += 1
        folders[:] = [] if here == root.path / "data" else folders
    return found
