"""`python -m qat_ladder.executors.worker ATTEMPT PARENT`: an attempt as a child of a process that may vanish.

ATTEMPT is JSON; PARENT is the process id of the one that started it, whose death it does not outlive (Linux).
"""

import json
import os
import sys
from pathlib import Path

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.executors.processes import in_child
from qat_ladder.executors.remote import Attempt


def main(text: str, parent: int) -> int:
    """Perform an attempt; its exit code, that of a shell where the command was ended by a signal."""
    in_child()
    if os.getppid() != parent:  # it died before we asked to be told
        return Exit.TERMINATED
    given = json.loads(text)
    paths = {key: Path(given[key]) for key in ("log", "folder")}
    code = Attempt(**given | paths | {"argv": tuple(given["argv"])}).perform()
    return 128 - code if code < 0 else code


def code_of(status: int) -> int:
    """What `main` ended with, from its exit status: negative where a signal ended the command that it ran."""
    return status if status <= 128 or status in (Exit.INTERRUPTED, Exit.TERMINATED) else 128 - status


if __name__ == "__main__":
    sys.exit(qat_artifacts.run_command(lambda: main(sys.argv[1], int(sys.argv[2])), {}))
