"""`python -m qat_train.companion`: one of the other ranks of a run, see `qat_train.ranks`; not called by people."""

import contextlib
import logging
import sys
import tempfile
from pathlib import Path

import qat_artifacts
from qat_train import ranks
from qat_train.environment import prepare_environment


def accompany() -> None:
    """Train with rank 0 by the order that stdin brings, and write nothing."""
    logging.basicConfig(level=logging.ERROR, format=f"rank {ranks.rank()}: %(message)s", stream=sys.stderr)
    order = ranks.obey(sys.stdin.readline())
    prepare_environment(order.threads)
    from qat_train.errors import Diverged
    from qat_train.runner import follow

    # A run that diverges has that as its result, which rank 0 records.
    with tempfile.TemporaryDirectory(prefix="qat-train-") as folder, contextlib.suppress(Diverged):
        follow(order, Path(folder))


def main() -> None:
    """Entry point: exit codes of `qat_artifacts.Exit`."""
    from qat_train.cli import FAILURES

    sys.exit(qat_artifacts.run_command(accompany, FAILURES))


if __name__ == "__main__":
    main()
