"""Replay of summarized runs into the trackers people look at. Files stay the record: a replay can be made again."""

from qat_report.tracking.mlflow import export_mlflow
from qat_report.tracking.scalars import Replay, Scalar, replays
from qat_report.tracking.stores import Exported
from qat_report.tracking.tensorboard import export_tensorboard

__all__ = ["Exported", "Replay", "Scalar", "export_mlflow", "export_tensorboard", "replays"]
