"""`summarize`, `refuse` and `warn`: one row of a run, why it was not started, and how it is doing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import qat_artifacts
from qat_report.commands.options import json_option, path, print_json
from qat_report.comparable import METHOD_MAY_SET
from qat_report.numbers import count

if TYPE_CHECKING:
    from qat_report.early_warning import EarlyWarning


@click.command()
@click.option("--run", type=path, required=True, help="Folder with run.json and metrics.jsonl.")
@click.option("--qc", type=path, help="Folder with the qc.json of this run.")
@click.option(
    "--method", required=True, help="baseline, ema, ema+bn, ema+qc, ..., or a new name together with --series."
)
@click.option("--series", "series_name", type=click.Choice(["raw", "ema"]), help="Weights an unlisted method reports.")
@click.option(
    "--sets",
    type=click.Choice(METHOD_MAY_SET),
    multiple=True,
    help="Comparability key that the method itself defines; may be repeated.",
)
@click.option("--stopped", metavar="SIGNS", help="The run was ended for these signs of a collapse.")
@click.option("--failed", metavar="REASON", help="The run completed, and its correction failed for this reason.")
@click.option("--out", type=path, required=True, help="Folder for run_summary.json, summary.md and results.csv.")
@json_option
def summarize(  # noqa: PLR0917 - click passes options by name
    run: Path,
    qc: Path | None,
    method: str,
    series_name: Any,
    sets: tuple[str, ...],
    stopped: str | None,
    failed: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Summarize one method's row of a training run.

    Example: qat-report summarize --run runs/n/seed0 --qc runs/n/seed0/qc --method ema+qc --out out/ema-qc/seed0
    """
    from qat_report.summarizing import summarize as build

    summary = build(run, method=method, out=out, qc=qc, series=series_name, sets=sets, stopped=stopped, failed=failed)
    if as_json:
        click.echo((out / "run_summary.json").read_text(encoding="utf-8"), nl=False)
        return
    final = summary.metrics.final_value
    line = f"{summary.run_id}: {summary.stability.run_class}, final {'missing' if final is None else final}"
    click.echo(qat_artifacts.printable(line))
    click.echo(f"wrote {out / 'run_summary.json'}", err=True)


@click.command()
@click.option("--request", type=path, required=True, help="request.json: the run that was asked for.")
@click.option("--gate", type=path, required=True, help="gate.json, a NO-GO.")
@click.option("--out", type=path, required=True, help="Folder for run_summary.json and summary.md.")
@json_option
def refuse(request: Path, gate: Path, out: Path, as_json: bool) -> None:
    """Summarize a run that a gate refused: what was asked for, and why it was not started.

    Example: qat-report refuse --request request.json --gate gate.json --out runs/ladder/yolo10m
    """
    from qat_report.refusing import refuse as build

    summary = build(request, gate=gate, out=out)
    if as_json:
        click.echo((out / "run_summary.json").read_text(encoding="utf-8"), nl=False)
        return
    click.echo(qat_artifacts.printable(f"{summary.run_id}: {summary.error}"))
    click.echo(f"wrote {out / 'run_summary.json'}", err=True)


@click.command()
@click.argument("run", metavar="RUN", type=path)
@click.option("--series", type=click.Choice(["raw", "ema"]), default="raw", show_default=True, help="Weights to watch.")
@json_option
def warn(run: Path, series: Any, as_json: bool) -> None:
    """Look for signs that a run heads for collapse, and say how early they stood.

    RUN is the folder of a training run, finished or not, or a metrics.jsonl alone. Exit code 0 with and without alarms.

    Example: qat-report warn runs/ladder/trajectories/yolo10n/shared/seed0 --json
    """
    from qat_report.early_warning import watch_run

    found = watch_run(run, series)
    if as_json:
        print_json(found)
        return
    click.echo(_describe(found))


def _describe(found: "EarlyWarning") -> str:
    lead = "" if found.lead_epochs is None else f", {found.lead_epochs:+d} epochs after the first alarm"
    lines = [
        f"warned       {'no' if found.first_epoch is None else f'epoch {found.first_epoch}'}",
        f"collapse     {'none' if found.collapse_epoch is None else f'epoch {found.collapse_epoch}{lead}'}",
        f"class        {found.run_class}, {found.series} weights, {count(found.epochs, 'epoch')}",
    ]
    lines += [f"{alarm.sign}: epoch {alarm.epoch}: {alarm.text}" for alarm in found.alarms]
    lines += [f"stands for {count(s.epochs, 'epoch')}: {s.sign}: {s.text}" for s in found.standing]
    lines += [f"not checked: {text}" for text in found.not_checked]
    return "\n".join(lines)
