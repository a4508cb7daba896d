"""`series` and `classify`: any Ultralytics results.csv."""

import math
from pathlib import Path
from typing import Any

import click

import qat_artifacts
from qat_report.commands.options import json_option, path, print_json
from qat_report.errors import ReportError
from qat_report.records import Event
from qat_report.series import PRIMARY_METRIC, Series, read_series
from qat_report.stability import Classification, Point

column_option = click.option("--column", default=PRIMARY_METRIC, show_default=True, help="Column to read.")


class _Metric(click.FloatRange):
    """A metric in [0, 1]; click's own range lets NaN through, which is below and above nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range 0.0<=x<=1.0.", param, ctx)
        return number


unit = _Metric(0.0, 1.0)


@click.command()
@click.argument("results", metavar="RESULTS.csv", type=path)
@column_option
@json_option
def series(results: Path, column: str, as_json: bool) -> None:
    """Print one column of an Ultralytics results.csv, repaired and checked.

    Example: qat-report series runs/detect/train/results.csv
    """
    found = read_series(results, column)
    _warn(found)
    if as_json:
        print_json(found)
        return
    for point in found.points:
        click.echo(f"{point.epoch}\t{'missing' if point.value is None else repr(point.value)}")


@click.command()
@click.argument("results", metavar="RESULTS.csv", type=path)
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
        print_json({k: v for k, v in qat_artifacts.unstructure(verdict).items() if k != "reasons"})
        return
    click.echo(_describe(verdict))


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
