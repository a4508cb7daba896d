"""`compare` and `verify`: rows side by side, and whether they still stand."""

from pathlib import Path

import click

from qat_artifacts import Exit
from qat_report.commands.options import json_option, path, print_json
from qat_report.numbers import count
from qat_report.summary import VARIANTS


@click.command()
@click.argument("sources", metavar="D...", nargs=-1, required=True, type=path)
@click.option("--gate", type=path, help="gate.json to show; refreshes the decision in each run's summary.md.")
@click.option(
    "--export", "exports", type=path, multiple=True, help="export.json, or a folder of them; may be repeated."
)
@click.option(
    "--variant", "variants", type=click.Choice(VARIANTS), multiple=True, help="Compare this one alone; may be repeated."
)
@click.option("--method", "methods", multiple=True, help="Likewise.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Likewise.")
@click.option("--out", type=path, required=True, help="Folder for comparison.json, summary.md and index.html.")
@json_option
def compare(  # noqa: PLR0917 - click passes options by name
    sources: tuple[Path, ...],
    gate: Path | None,
    exports: tuple[Path, ...],
    variants: tuple[str, ...],
    methods: tuple[str, ...],
    seeds: tuple[int, ...],
    out: Path,
    as_json: bool,
) -> None:
    """Compare run summaries over seeds. D is a run_summary.json, a folder searched for them, or a pattern of either.

    Export.json files found below D are shown too. Run ids that two D share are told apart by the name of their D.

    Example: qat-report compare runs/ladder --out runs/ladder

    Example: qat-report compare 'runs/*/yolo10n' --method ema --method ema+qc --out runs/all
    """
    from qat_report.comparing import compare as build

    build(sources, out=out, gate=gate, exports=exports, variants=variants, methods=methods, seeds=seeds)
    name = "comparison.json" if as_json else "summary.md"
    click.echo((out / name).read_text(encoding="utf-8"), nl=False)
    click.echo(f"wrote {out / 'index.html'}", err=True)


@click.command()
@click.argument("place", metavar="E", type=path)
@json_option
def verify(place: Path, as_json: bool) -> int:
    """Check that a comparison still says what its inputs say; exit code 3, naming what changed, where it does not.

    E is a comparison.json or its folder. Checked are the files it rests on and those behind their summaries, every row
    and sentence, and the pages beside it.

    Example: qat-report verify runs/ladder
    """
    from qat_report.verifying import verify as check

    found = check(place)
    if as_json:
        print_json(found)
    elif not found.faults:
        sentences, rows = count(found.claims, "sentence"), count(found.rows, "row")
        click.echo(f"{found.comparison}: {sentences} on {rows} and {found.files} files, all unchanged")
    for fault in found.faults:
        click.echo(f"error: {fault}", err=True)
    return Exit.INPUT if found.faults else Exit.OK
