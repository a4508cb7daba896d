"""Commands of qat-report."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import click

import qat_artifacts
from qat_artifacts import Exit
from qat_report.comparable import METHOD_MAY_SET
from qat_report.errors import ReportError, RequestError
from qat_report.records import Event
from qat_report.series import PRIMARY_METRIC, Series, read_series
from qat_report.stability import Classification, Point

FAILURES: dict[type[Exception], Exit] = {
    RequestError: Exit.USAGE,
    ReportError: Exit.INPUT,
    qat_artifacts.ArtifactError: Exit.INPUT,
    OSError: Exit.ENVIRONMENT,
}

_path = click.Path(path_type=Path)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
column_option = click.option("--column", default=PRIMARY_METRIC, show_default=True, help="Column to read.")


class _Metric(click.FloatRange):
    """A metric in [0, 1]; click's own range lets NaN through, which is below and above nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range 0.0<=x<=1.0.", param, ctx)
        return number


unit = _Metric(0.0, 1.0)


@click.group()
@click.version_option(package_name="qat-report")
def cli() -> None:
    """Stability classes, run summaries and comparisons over seeds."""


@cli.command()
@click.argument("results", metavar="RESULTS.csv", type=_path)
@column_option
@json_option
def series(results: Path, column: str, as_json: bool) -> None:
    """Print one column of an Ultralytics results.csv, repaired and checked.

    Example: qat-report series runs/detect/train/results.csv
    """
    found = read_series(results, column)
    _warn(found)
    if as_json:
        _print_json(qat_artifacts.unstructure(found))
        return
    for point in found.points:
        click.echo(f"{point.epoch}\t{'missing' if point.value is None else repr(point.value)}")


@cli.command()
@click.argument("results", metavar="RESULTS.csv", type=_path)
@column_option
@click.option("--fp32", type=unit, help="Metric of the floating-point model, same evaluator.")
@click.option("--ptq", type=unit, help="Metric after quantization, before training.")
@json_option
def classify(results: Path, column: str, fp32: float | None, ptq: float | None, as_json: bool) -> None:
    """Decide the stability class of any Ultralytics run from its results.csv.

    Example: qat-report classify results.csv --fp32 0.436 --ptq 0.071 --json
    """
    from qat_report.stability import classify as decide

    found = read_series(results, column)
    verdict = decide(_points(found, results), fp32=fp32, ptq=ptq, events=found.events, rounded=True)
    _warn(found)
    if as_json:
        _print_json({k: v for k, v in qat_artifacts.unstructure(verdict).items() if k != "reasons"})
        return
    click.echo(_describe(verdict))


@cli.command()
@click.option("--run", type=_path, required=True, help="Folder with run.json and metrics.jsonl.")
@click.option("--qc", type=_path, help="Folder with the qc.json of this run.")
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
@click.option("--out", type=_path, required=True, help="Folder for run_summary.json, summary.md and results.csv.")
@json_option
def summarize(  # noqa: PLR0917 - click passes options by name
    run: Path, qc: Path | None, method: str, series_name: Any, sets: tuple[str, ...], out: Path, as_json: bool
) -> None:
    """Summarize one method's row of a training run.

    Example: qat-report summarize --run runs/n/seed0 --qc runs/n/seed0/qc --method ema+qc --out out/ema-qc/seed0
    """
    from qat_report.summarizing import summarize as build

    summary = build(run, method=method, out=out, qc=qc, series=series_name, sets=sets)
    if as_json:
        click.echo((out / "run_summary.json").read_text(encoding="utf-8"), nl=False)
        return
    final = summary.metrics.final_value
    click.echo(f"{summary.run_id}: {summary.stability.run_class}, final {'missing' if final is None else final}")
    click.echo(f"wrote {out / 'run_summary.json'}", err=True)


@cli.command()
@click.option("--request", type=_path, required=True, help="request.json: the run that was asked for.")
@click.option("--gate", type=_path, required=True, help="gate.json, a NO-GO.")
@click.option("--out", type=_path, required=True, help="Folder for run_summary.json and summary.md.")
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
    click.echo(f"{summary.run_id}: {summary.error}")
    click.echo(f"wrote {out / 'run_summary.json'}", err=True)


@cli.command()
@click.argument("sources", metavar="D...", nargs=-1, required=True, type=_path)
@click.option("--gate", type=_path, help="gate.json to show; refreshes the decision in each run's summary.md.")
@click.option("--out", type=_path, required=True, help="Folder for comparison.json, summary.md and index.html.")
@json_option
def compare(sources: tuple[Path, ...], gate: Path | None, out: Path, as_json: bool) -> None:
    """Compare run summaries; D is a run_summary.json or a folder searched for them.

    Example: qat-report compare runs/ladder --out runs/ladder
    """
    from qat_report.comparing import compare as build

    build(sources, out=out, gate=gate)
    name = "comparison.json" if as_json else "summary.md"
    click.echo((out / name).read_text(encoding="utf-8"), nl=False)
    click.echo(f"wrote {out / 'index.html'}", err=True)


def _points(found: Series, source: Path) -> list[Point]:
    points = []
    for point in found.points:
        try:
            points.append(Point(epoch=point.epoch, value=point.value))
        except ValueError as error:
            raise ReportError(f"{source}, column {found.column!r}, epoch {point.epoch}: {error}") from error
    return points


def _describe(verdict: Classification) -> str:
    best = "none" if verdict.best_value is None else f"{verdict.best_value} at epoch {verdict.best_epoch}"
    final = "missing" if verdict.final_value is None else str(verdict.final_value)
    lines = [
        f"class        {verdict.stability_class}",
        f"collapsed    {'yes' if verdict.collapsed else 'no'}",
        f"best         {best}",
        f"final        {final}",
        f"evaluations  {verdict.evaluations}",
    ]
    lines += [f"{name}: {why}" for name, why in zip(verdict.findings, verdict.reasons, strict=True)]
    lines += [f"not checked: {text}" for text in verdict.not_checked]
    return "\n".join(lines)


def _warn(found: Series) -> None:
    for note in found.notes:
        click.echo(note, err=True)
    for event in found.events:
        click.echo(_event(event), err=True)


def _event(event: Event) -> str:
    return f"epoch {event.epoch}: {event.kind} in {event.detail}"


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def main() -> None:
    """Entry point of the console script."""
    sys.exit(qat_artifacts.run_command(lambda: cli.main(standalone_mode=False), FAILURES))
