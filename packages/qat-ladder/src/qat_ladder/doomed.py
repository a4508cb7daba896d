"""`--stop-doomed`: a training run whose evaluations have fallen is ended, and its hours go to others.

The rule: at the end of an epoch, a sign of `qat-report warn` that is about evaluations (metric-fall, not-finite) stands
in every series that the run validates, and has for two epochs in a row; for three where there is one series only. Raw
weights at five to seven times the usual learning rate were seen to fall for one or two epochs and to recover: they say
less than both series together. Averaged weights may hold where the raw ones fall, which is what they are for.
Signs of the training as a whole (codes that switch, scales that move) come earlier and warn; they stop nothing, for
averages held under them, too. The last epoch stops nothing either: the run is over. docs/results/early-warning.md has
what the rule rests on.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import attrs

from qat_ladder.launch import EPOCH, run, say
from qat_ladder.status import finished_epochs, training_state

FALLS = ("metric-fall", "not-finite")
EPOCHS, EPOCHS_ALONE = 2, 3  # in a row that one of them must have stood, in several series or in a single one


class Doomed(Exception):
    """The text says which signs stand, in every series."""


def stoppable(folder: Path, epochs: int) -> bool:
    """Whether a training run lies there that has an epoch behind it and one before it; its end may still be missing."""
    return training_state(folder) == "running" and 0 < finished_epochs(folder) < epochs


def signs(folder: Path, series: Sequence[str]) -> str | None:
    """What makes the run in `folder` doomed by the lines that it has so far; None where it is not.

    A question that cannot be answered dooms nothing; it is said on stderr.
    """
    needed = EPOCHS if len(series) > 1 else EPOCHS_ALONE
    found = []
    for name in series:
        asked = run("qat-report", "warn", folder, "--series", name, "--json")
        if asked.returncode:
            say(f"--stop-doomed: qat-report warn: {asked.stderr.strip()}")
            return None
        standing = [
            sign for sign in json.loads(asked.stdout)["standing"] if sign["sign"] in FALLS and sign["epochs"] >= needed
        ]
        if not standing:
            return None
        texts = (f"{sign['sign']} for {sign['epochs']} epochs: {sign['text']}" for sign in standing)
        found.append(f"{name} {', '.join(texts)}")
    return "; ".join(found)


@attrs.frozen(kw_only=True)
class Watch:
    """Asks after every epoch but the last. `series` are those that the run in `folder` validates."""

    folder: Path
    series: tuple[str, ...]

    def __call__(self, line: str) -> None:
        """Read a line of the training process.

        Raises:
            Doomed: the line ends an epoch, and the rule holds.
        """
        found = re.match(EPOCH, line)
        if found and found[1] != found[2] and (text := signs(self.folder, self.series)):
            raise Doomed(text)
