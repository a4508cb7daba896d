"""How summaries are found and read."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import attrs

import qat_artifacts
from qat_gate.errors import EvidenceError
from qat_gate.policy import Policy
from qat_gate.summaries import RunSummary

FILE_NAME = "run_summary.json"


def find_summaries(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Every summary file in `paths`: files as given, folders searched to any depth; each file once, sorted."""
    found: dict[Path, Path] = {}
    for path in paths:
        for file in path.rglob(FILE_NAME) if path.is_dir() else (path,):
            found.setdefault(file.resolve(), file)
    return tuple(sorted(found.values()))


@attrs.frozen(kw_only=True)
class _Variant:
    variant: str


@attrs.frozen(kw_only=True)
class _Peek:
    SCHEMA: ClassVar[str] = "qat-report/run-summary"
    VERSION: ClassVar[str] = "1.0"

    model: _Variant


def read_summaries(files: Iterable[Path], policy: Policy | None = None) -> Mapping[Path, RunSummary]:
    """Read the summaries, by file; with a policy, those of its variants alone.

    Raises:
        qat_artifacts.ArtifactError: a file is no run summary.
        EvidenceError: two files carry one run id.
    """
    wanted = [
        file
        for file in files
        if policy is None or qat_artifacts.read_view(file, _Peek).model.variant in policy.variants
    ]
    summaries = {file: qat_artifacts.read_view(file, RunSummary) for file in wanted}
    first: dict[str, Path] = {}
    for file, summary in summaries.items():
        other = first.setdefault(summary.run_id, file)
        if other != file:
            raise EvidenceError(f"run id {summary.run_id!r} occurs twice: in {other} and in {file}; give each run once")
    return summaries
