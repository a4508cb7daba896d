"""The command: read policy and summaries, decide, write gate.json, exit 0 or 4."""

from __future__ import annotations  # what annotations name is imported by the command that needs it

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import qat_artifacts
from qat_artifacts import Exit
from qat_gate.errors import EvidenceError, PolicyError

if TYPE_CHECKING:
    from qat_gate.request import PlannedCell

FAILURES: dict[type[Exception], Exit] = {
    PolicyError: Exit.USAGE,
    EvidenceError: Exit.INPUT,
    qat_artifacts.ArtifactError: Exit.INPUT,
    OSError: Exit.ENVIRONMENT,
}


def _cells(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> list[PlannedCell]:
    from qat_gate.request import PlannedCell

    found = []
    for value in values:
        match value.split("/"):
            case [variant, method, seed] if variant and method and seed.isdecimal() and seed.isascii():
                found.append(PlannedCell(variant=variant, method=method, seed=int(seed)))
            case _:
                raise click.BadParameter(f"{value!r} is not of the form VARIANT/METHOD/SEED, such as yolo10s/ema+qc/1")
    return found


def _stated(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.strip():
        raise click.BadParameter("the reason must not be blank")
    return value


@click.group()
@click.version_option(package_name="qat-gate")
def cli() -> None:
    """Decide from run summaries, by a written policy, whether a costly run may start."""


@cli.command()
@click.option("--policy", "policy_path", type=click.Path(path_type=Path), required=True, help="The rules, TOML.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The gate.json to write.")
@click.option(
    "--plan",
    "plans",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A ladder.json: every seed it names must have run. May be repeated.",
)
@click.option(
    "--lost",
    metavar="VARIANT/METHOD/SEED",
    callback=_cells,
    multiple=True,
    help="A run that was planned or begun where no summary of it lies; it is missing whatever else ran. Repeatable.",
)
@click.option("--request", type=click.Path(path_type=Path), help="A request.json: the run that is asked for.")
@click.option(
    "--override", callback=_stated, help="Why the run is started against a NO-GO; recorded, the decision stays."
)
@click.option("--json", "as_json", is_flag=True, help="Print the decision as one JSON document.")
@click.argument("summaries", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def check(  # noqa: PLR0917  # click passes options by name
    policy_path: Path,
    out: Path,
    plans: tuple[Path, ...],
    lost: list[PlannedCell],
    request: Path | None,
    override: str | None,
    as_json: bool,
    summaries: tuple[Path, ...],
) -> Exit:
    """Decide on SUMMARIES: run_summary.json files, or folders that are searched for them to any depth.

    The files that each summary was made from are hashed and read again; they are found through its header.
    Exit code 0 is GO, 4 is NO-GO; the decision is written in both cases.

    Example: qat-gate check --policy configs/gate.toml --out runs/ladder/gate.json runs/ladder
    """
    import attrs

    from qat_gate.deciding import decide
    from qat_gate.policy import read_policy
    from qat_gate.reading import find_summaries, read_summaries
    from qat_gate.request import Plan, Request
    from qat_gate.text import render
    from qat_gate.verifying import verify

    policy = read_policy(policy_path)
    found = read_summaries(find_summaries(summaries), policy)
    decision = decide(
        policy,
        found.values(),
        verified={run.run_id: verify(file, run) for file, run in found.items()},
        planned=[cell for plan in plans for cell in qat_artifacts.read_view(plan, Plan).cells],
        lost=lost,
        request=qat_artifacts.read_view(request, Request) if request else None,
        override=override,
    )
    beside = [*plans, *([request] if request else [])]
    by = f"decided by {policy_path}, SHA-256 {qat_artifacts.sha256_file(policy_path)}"
    decision = attrs.evolve(decision, notes=(by, *decision.notes))
    qat_artifacts.write(out, decision, inputs=[*found, policy_path, *beside])
    if as_json:
        click.echo(qat_artifacts.dumps(qat_artifacts.unstructure(decision)), nl=False)
    else:
        click.echo(render(decision, lambda text, colour: click.style(text, fg=colour)))
    return Exit.OK if decision.passed else Exit.NO_GO


def main() -> None:
    """Entry point: exit codes of `qat_artifacts.Exit`."""
    sys.exit(qat_artifacts.run_command(lambda: cli.main(standalone_mode=False), FAILURES))
