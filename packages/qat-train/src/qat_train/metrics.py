"""metrics.jsonl: one line an epoch."""

import json
from collections.abc import Sequence
from pathlib import Path

import qat_artifacts
from qat_train.errors import InputError
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
        InputError: it is missing, no text in UTF-8, or a line is no JSON.
        ArtifactError: a line is not what this version writes; the text names file and line.
    """
    path = folder / FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {error}") from error
    return tuple(_record(line, f"{path}:{number}") for number, line in enumerate(lines, start=1))


def _record(line: str, where: str) -> EpochRecord:
    try:
        value = qat_artifacts.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON: {error}") from error
    return qat_artifacts.structure(value, EpochRecord, source=where)
