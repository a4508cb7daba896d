"""The invoke collections: a module for each, and what they share in `frame`."""

from pathlib import Path

from invoke import Collection

from qat_ladder import upkeep
from qat_ladder.tasks import (
    attribution,
    campaign,
    compare,
    config,
    data,
    export,
    gate,
    ladder,
    predict,
    pretrain,
    sensitivity,
)
from qat_ladder.tasks.bench import bench
from qat_ladder.tasks.doctor import doctor
from qat_ladder.tasks.frame import guard
from qat_ladder.tasks.report import report

PROJECT = Path.cwd()  # the folder that holds configs/; the root's tasks.py names its own


def collection() -> Collection:
    """Every task."""
    root = Collection(
        *(part.collection() for part in (ladder, attribution, compare, campaign, sensitivity)),
        *(part.collection() for part in (pretrain, gate, data, config, export, predict)),
        *upkeep.collections(guard, PROJECT),
    )
    root.add_task(report)
    root.add_task(bench)
    root.add_task(doctor)
    return root
