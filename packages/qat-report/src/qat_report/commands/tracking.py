"""`export`: runs in the trackers people look at."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qat_report.commands.options import json_option, path, print_json

if TYPE_CHECKING:
    from qat_report.tracking import Exported, Replay

sources_argument = click.argument("sources", metavar="D...", nargs=-1, required=True, type=path)


@click.group()
def export() -> None:
    """Replay summarized runs into TensorBoard or MLflow, under the names that Ultralytics logs them by.

    A run is known again by its id, its data and its starting checkpoint: exporting twice adds nothing, and a run that
    has changed since replaces what was exported of it.
    """


@export.command()
@sources_argument
@click.option("--out", type=path, required=True, help="Log folder; each row has a folder of its own below.")
@json_option
def tensorboard(sources: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Write TensorBoard event files. D is a run_summary.json, a folder searched for them, or a pattern of either.

    Example: qat-report export tensorboard runs/ladder --out runs/ladder/tensorboard
    """
    from qat_report.tracking import export_tensorboard

    _export(sources, lambda rows: export_tensorboard(rows, out), as_json=as_json)


@export.command()
@sources_argument
@click.option("--experiment", default="qat", show_default=True, help="Name of the experiment; made if absent.")
@click.option(
    "--tracking-uri", "store", help="By default MLFLOW_TRACKING_URI, or MLflow's own: mlflow.db, a sqlite file here."
)
@json_option
def mlflow(sources: tuple[Path, ...], experiment: str, store: str | None, as_json: bool) -> None:
    """Log MLflow runs. D is a run_summary.json, a folder searched for them, or a pattern of either.

    Example: qat-report export mlflow runs/ladder --experiment bccd
    """
    from qat_report.tracking import export_mlflow

    _export(sources, lambda rows: export_mlflow(rows, experiment=experiment, store=store), as_json=as_json)


def _export(sources: Sequence[Path], write: "Callable[[Sequence[Replay]], list[Exported]]", *, as_json: bool) -> None:
    from qat_report.finding import read_summaries
    from qat_report.tracking import replays

    rows, gaps = replays(read_summaries(sources))
    done = write(rows)
    for gap in gaps:
        click.echo(f"{gap}; of mAP50-95 the series is exported", err=True)
    if as_json:
        print_json(done)
        return
    for found in done:
        click.echo(f"{found.run_id}\t{found.state}\t{found.place}")
