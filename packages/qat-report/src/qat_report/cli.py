"""The console script qat-report."""

import sys

import click

import qat_artifacts
from qat_artifacts import Exit
from qat_report.commands.comparison import compare, verify
from qat_report.commands.runs import refuse, summarize, warn
from qat_report.commands.series import classify, series
from qat_report.commands.tracking import export
from qat_report.errors import ReportError, RequestError, ToolError

FAILURES: dict[type[Exception], Exit] = {
    RequestError: Exit.USAGE,
    ToolError: Exit.ENVIRONMENT,
    ReportError: Exit.INPUT,
    qat_artifacts.ArtifactError: Exit.INPUT,
    OSError: Exit.ENVIRONMENT,
}


@click.group()
@click.version_option(package_name="qat-report")
def cli() -> None:
    """Stability classes, run summaries and comparisons over seeds."""


for command in (series, classify, summarize, refuse, warn, compare, verify, export):
    cli.add_command(command)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(qat_artifacts.run_command(lambda: cli.main(standalone_mode=False), FAILURES))
