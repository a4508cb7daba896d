"""`python -m qat_train.companion`: one of the other ranks of a run, see `qat_train.ranks`; not called by people."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import qat_artifacts
from qat_train import ranks
from qat_train.environment import prepare_environment


def accompany() -> None:
    """Train with rank 0 by the order that stdin brings, and write nothing."""
    logging.basicConfig(level=logging.ERROR, format=f"rank {ranks.rank()}: %(message)s", stream=sys.stderr)
    for asked in (signal.SIGINT, signal.SIGTERM):  # of a whole group: rank 0 decides, and its end is ours
        signal.signal(asked, signal.SIG_IGN)
    with tempfile.TemporaryDirectory(prefix="qat-train-") as folder:
        order = ranks.obey(sys.stdin.buffer.readline(), Path(folder))
        prepare_environment(order.threads)
        from qat_train.errors import Diverged
        from qat_train.runner import follow

        with contextlib.suppress(Diverged):  # the run's result, which rank 0 records
            follow(order, Path(folder))


def main() -> None:
    """Entry point: exit codes of `qat_artifacts.Exit`."""
    from qat_train.cli import FAILURES

    try:
        code = qat_artifacts.run_command(accompany, FAILURES)
    except BaseException:
        traceback.print_exc()
        code = qat_artifacts.Exit.BUG
    sys.stderr.flush()
    os._exit(code)  # at once: the way out of an interpreter may wait for a collective that never ends


if __name__ == "__main__":
    main()
