"""The logged series of a row, under the names that Ultralytics gives them.

Ultralytics logs train/*_loss, lr/pg* and metrics/* once an epoch (ultralytics/utils/callbacks, 8.4); what it has no
name for stands under names of its own: oscillation/*, drift/*, references/*.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import attrs

import qat_artifacts
from qat_report.errors import ReportError
from qat_report.evidence import Evidence, find_evidence
from qat_report.finding import Located
from qat_report.series import PRIMARY_METRIC
from qat_report.summary import RunSummary
from qat_report.views import EvaluationPoint
from qat_report.wording import motion


@attrs.frozen(kw_only=True)
class Scalar:
    """One logged value. `epoch` from 1, 0 for what was measured before training; `seconds` since the run began.

    `value` is NaN where the run had none that is finite.
    """

    name: str
    epoch: int
    value: float
    seconds: float


@attrs.frozen(kw_only=True)
class Replay:
    """One row as a tracker holds it.

    `key` names the row for good: its run id, data and starting checkpoint; `digest` changes whenever its summary does.
    `started` is in seconds since 1970. `whole` False: the run was cut off.
    """

    run_id: str
    key: str
    digest: str
    started: float
    whole: bool
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    scalars: tuple[Scalar, ...]

    @property
    def ended(self) -> float:
        """In seconds since 1970."""
        return self.started + max((scalar.seconds for scalar in self.scalars), default=0.0)


def replays(found: Sequence[Located]) -> tuple[list[Replay], list[str]]:
    """Each row with all that was logged of it, and sentences on rows of which only mAP50-95 is known.

    A row that was refused has nothing to replay and is left out.

    Raises:
        ReportError: a summary's `created_at` is no time.
    """
    evidence = find_evidence([(item.path, item.summary) for item in found])
    rows = [_replay(item, evidence.by_summary.get(item.path)) for item in found if item.summary.status != "refused"]
    return rows, list(evidence.gaps)


def _replay(item: Located, behind: Evidence | None) -> Replay:
    summary = item.summary
    try:
        started = datetime.fromisoformat(summary.created_at).timestamp()
    except ValueError as error:
        raise ReportError(f"{item.path}: created_at {summary.created_at!r} is no time in ISO 8601") from error
    identity = (summary.run_id, summary.dataset.fingerprint, summary.model.checkpoint_sha256)
    scalars = _logged(summary, behind) if behind else _known(summary)
    references = {"fp32": summary.metrics.fp32, "ptq": summary.metrics.ptq}
    return Replay(
        run_id=summary.run_id,
        key=hashlib.sha256(repr(identity).encode()).hexdigest(),
        digest=qat_artifacts.sha256_file(item.path),
        started=started,
        whole=summary.status != "incomplete",
        parameters=_parameters(summary),
        tags=_tags(summary),
        scalars=(
            *(
                Scalar(name=f"references/{name}", epoch=0, value=value, seconds=0.0)
                for name, value in references.items()
                if value is not None
            ),
            *scalars,
        ),
    )


def _logged(summary: RunSummary, behind: Evidence) -> Iterator[Scalar]:
    seconds = 0.0
    for epoch in behind.epochs:
        seconds += epoch.seconds
        values = {f"train/{name}_loss": math.nan if loss is None else loss for name, loss in epoch.loss.items()}
        if epoch.learning_rate is not None:
            values["lr/pg0"] = epoch.learning_rate
        values |= _metrics(epoch.point("ema" if summary.method.ema.enabled else "raw"))
        if epoch.oscillation is not None:
            values["oscillation/share"] = epoch.oscillation.total.share
            values["oscillation/switches"] = float(epoch.oscillation.total.switches)
        if epoch.drift is not None:
            spreads = attrs.asdict(epoch.drift, recurse=False)
            values |= {f"drift/{name}": spread.median for name, spread in spreads.items() if spread is not None}
        yield from (Scalar(name=n, epoch=epoch.epoch, value=v, seconds=seconds) for n, v in values.items())
    if any(point.stage == "qc" for point in summary.metrics.history):
        last = len(behind.epochs) + 1
        yield from (Scalar(name=n, epoch=last, value=v, seconds=seconds) for n, v in _metrics(behind.final).items())


def _metrics(point: EvaluationPoint | None) -> dict[str, float]:
    if point is None:
        return {PRIMARY_METRIC: math.nan}
    return {
        "metrics/precision(B)": point.precision,
        "metrics/recall(B)": point.recall,
        "metrics/mAP50(B)": point.map50,
        PRIMARY_METRIC: point.map50_95,
    }


def _known(summary: RunSummary) -> Iterator[Scalar]:
    """What a summary alone knows. It holds no times: a second stands for an epoch."""
    for point in summary.metrics.history:
        value = math.nan if point.value is None else point.value
        yield Scalar(name=PRIMARY_METRIC, epoch=point.epoch, value=value, seconds=float(point.epoch))


def _parameters(summary: RunSummary) -> dict[str, str]:
    """Ultralytics' names where it has them, ours behind a dot where it has none."""
    training, quantization = summary.training, summary.quantization
    values = {
        "model": summary.model.checkpoint,
        "data": summary.dataset.dataset_yaml,
        "imgsz": summary.model.imgsz,
        "epochs": training.epochs,
        "batch": training.effective_batch,
        "seed": training.seed,
        "device": training.device,
        "amp": training.amp,
        "workers": training.workers,
        "optimizer": training.optimizer,
        "qat.variant": summary.model.variant,
        "qat.method": summary.method.variant,
        "qat.mode": quantization.mode,
        "qat.granularity": quantization.granularity,
        "qat.scale": f"{quantization.scale.init}, {motion(summary)}",
        "qat.policy": quantization.policy,
        **{f"qat.{name}": strength for name, strength in training.interventions.items()},
        **{f"given.{name}": value for name, value in training.overrides.items()},
    }
    return {name: str(value) for name, value in values.items()}


def _tags(summary: RunSummary) -> dict[str, str]:
    git = summary.git
    tags = {
        "qat.run_id": summary.run_id,
        "qat.trajectory_id": summary.trajectory_id,
        "qat.class": summary.stability.run_class,
        "qat.status": summary.status,
        "qat.collapsed": str(summary.stability.collapsed).lower(),
        "qat.reasons": "; ".join(summary.stability.reasons),
        "qat.data": summary.dataset.fingerprint,
        "qat.checkpoint": summary.model.checkpoint_sha256 or "",
    }
    tags |= {"mlflow.source.git.commit": git.commit} if git.commit else {}
    tags |= {"mlflow.source.git.branch": git.branch} if git.branch else {}
    return {name: text for name, text in tags.items() if text}
