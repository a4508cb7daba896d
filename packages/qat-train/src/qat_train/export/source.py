"""Which checkpoint a method stands for: a series of a run, or what qat-qc made of it."""

from pathlib import Path
from typing import ClassVar, Literal

import attrs

import qat_artifacts
from qat_train.errors import InputError, SpecError
from qat_train.run import Run, Series

CORRECTIONS = ("qc", "bn")  # parts of a method's name that stand for a stage of qat-qc, alone or as qc-beta, qc-gamma


@attrs.frozen(kw_only=True)
class CorrectionView:
    """What is asked of qat-qc/correction 1.x."""

    SCHEMA: ClassVar[str] = "qat-qc/correction"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    weights: Series
    stages: tuple[str, ...]
    checkpoint: str


@attrs.frozen(kw_only=True)
class Source:
    """Where the weights of a method lie. `inputs` are the artifacts that say so."""

    run: Run
    checkpoint: Path
    series: Literal["raw", "ema", "corrected"]
    inputs: tuple[Path, ...]


def stages_of(method: str) -> tuple[str, ...]:
    """Stages of qat-qc that a method's name speaks of, such as ("bn", "qc") of "ema+bn+qc-beta"."""
    parts = [part.partition("-")[0] for part in method.split("+")]
    return tuple(sorted({part for part in parts if part in CORRECTIONS}))


def find_source(run_dir: Path, *, method: str, series: Series | None, qc: Path | None) -> Source:
    """The checkpoint that a row of a comparison reports.

    Args:
        run_dir: folder of a completed run.
        method: "baseline", "ema", "ema+qc", "learned+ema", ...: "ema" among its parts stands for the averaged weights,
            "qc" and "bn" for a correction.
        series: the weights, for a name that does not say; by default those of the name, raw without "ema".
        qc: folder of a correction of this run, for a method that has one.

    Raises:
        SpecError: name, series and correction contradict each other.
        InputError: the run is not completed, or the correction is another run's or other than the method's.
    """
    averaged = "ema" in method.split("+")
    if averaged and series == "raw":
        raise SpecError(f"method {method!r} reports the averaged weights, not --series raw")
    weights: Series = series or ("ema" if averaged else "raw")
    stages = stages_of(method)
    if stages and qc is None:
        raise SpecError(f"method {method!r} is a correction: give the folder that qat-qc wrote with --qc")
    path = run_dir / "run.json"
    run = qat_artifacts.read(path, Run)
    if run.status != "completed" or run.files.checkpoint is None:
        state = run.status if run.error is None else f"{run.status}, {run.error}"
        raise InputError(f"{run_dir}: a completed run with a checkpoint is needed, this one is: {state}")
    if qc is None:
        return Source(run=run, checkpoint=run_dir / run.files.checkpoint, series=weights, inputs=(path,))
    if not stages:
        raise SpecError(f"method {method!r} has no correction; leave --qc out or name a method that has one")
    record = qc / "qc.json" if qc.is_dir() else qc
    found = qat_artifacts.read_view(record, CorrectionView)
    for what, stated, wanted in (
        ("corrects run", found.run_id, run.run_id),
        ("starts from series", found.weights, weights),
        ("has stages", "+".join(sorted(found.stages)), "+".join(stages)),
    ):
        if stated != wanted:
            raise InputError(f"{record}: {what} {stated}, method {method!r} of {run.run_id} needs {wanted}")
    return Source(run=run, checkpoint=record.parent / found.checkpoint, series="corrected", inputs=(path, record))
