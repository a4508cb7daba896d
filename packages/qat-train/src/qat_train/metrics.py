"""metrics.jsonl: one line an epoch."""

import json
from collections.abc import Sequence
from pathlib import Path

import qat_artifacts
from qat_train.run import EpochRecord

FILE = "metrics.jsonl"


def write_metrics(folder: Path, records: Sequence[EpochRecord]) -> None:
    """Replace the file by all epochs so far: a reader never sees a torn line."""
    lines = (
        json.dumps(qat_artifacts.unstructure(record), allow_nan=False, sort_keys=True, ensure_ascii=False)
        for record in records
    )
    qat_artifacts.write_text(folder / FILE, "".join(f"{line}\n" for line in lines))


def read_metrics(folder: Path) -> tuple[EpochRecord, ...]:
    """All epochs of a run.

    Raises:
        ArtifactError: a line is not what this version writes; the text names file and line.
    """
    path = folder / FILE
    return tuple(
        qat_artifacts.structure(qat_artifacts.loads(line), EpochRecord, source=f"{path}:{number}")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    )
