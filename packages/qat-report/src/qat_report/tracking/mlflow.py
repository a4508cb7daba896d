"""Rows as MLflow runs, in its own default store or in one that is named.

A run of MLflow cannot be edited into another: parameters are written once. So a row that changed is logged anew and its
earlier run is deleted, which MLflow undoes with `mlflow runs restore`.
"""

import os
from collections.abc import Sequence
from typing import Any

from qat_report.errors import ToolError
from qat_report.tracking.scalars import Replay
from qat_report.tracking.stores import Exported, need
from qat_report.wording import shorten

_KEY = "qat.key"
_DIGEST = "qat.summary_sha256"
_BATCH = 1000  # metrics of one request; MLflow refuses more
_PARAMETERS = 100  # likewise


def export_mlflow(rows: Sequence[Replay], *, experiment: str, store: str | None = None) -> list[Exported]:
    """Log each row as a run of an experiment, which is made if absent.

    A row is found again by the tag "qat.key", and left as it is while the tag "qat.summary_sha256" is that of its
    summary. That tag is set last: a run that was cut off on the way is logged anew.

    Args:
        rows: what to log.
        experiment: its name.
        store: tracking URI; by default MLFLOW_TRACKING_URI, or what MLflow itself uses.

    Raises:
        ToolError: mlflow is not installed, or its store does not answer.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at import; a report sends nothing anywhere
    need("mlflow", "mlflow")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=store)
        found = client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else client.create_experiment(experiment)
        return [_log(client, place, row) for row in rows]
    except (MlflowException, ImportError) as error:  # a store of a database that has no driver here
        raise ToolError(f"MLflow, experiment {experiment!r}: {' '.join(str(error).split())}") from error


def metric_name(name: str) -> str:
    """As Ultralytics' own callback writes it: MLflow allows no parentheses."""
    return name.replace("(", "").replace(")", "")


def _log(client: Any, experiment: str, row: Replay) -> Exported:
    from mlflow.entities import Metric, Param, RunTag

    earlier = client.search_runs([experiment], f"tags.`{_KEY}` = '{row.key}'")
    for run in earlier:
        if run.data.tags.get(_DIGEST) == row.digest:
            return Exported(run_id=row.run_id, state="unchanged", place=run.info.run_id)
    made = client.create_run(experiment, start_time=_milliseconds(row.started), run_name=shorten(row.run_id))
    number = made.info.run_id
    metrics = [
        # Ultralytics counts epochs from 0 in MLflow, and from 1 everywhere else.
        Metric(
            metric_name(scalar.name),
            scalar.value,
            _milliseconds(row.started + scalar.seconds),
            max(scalar.epoch - 1, 0),
        )
        for scalar in row.scalars
    ]
    parameters = [Param(name, shorten(text)) for name, text in row.parameters.items()]
    tags = [RunTag(name, shorten(text)) for name, text in {**row.tags, _KEY: row.key}.items()]
    client.log_batch(number, tags=tags)
    for start in range(0, len(parameters), _PARAMETERS):
        client.log_batch(number, params=parameters[start : start + _PARAMETERS])
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(number, metrics=metrics[start : start + _BATCH])
    client.set_terminated(number, "FINISHED" if row.whole else "KILLED", _milliseconds(row.ended))
    client.set_tag(number, _DIGEST, row.digest)
    for run in earlier:
        client.delete_run(run.info.run_id)
    return Exported(run_id=row.run_id, state="replaced" if earlier else "written", place=number)


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
