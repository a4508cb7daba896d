"""The comparison of many runs."""

import json
from pathlib import Path

from qat_ladder import tasks
from qat_ladder.bench import peers
from qat_ladder.bench.case import Case, Contestant, Group, Setup, Target, python
from qat_ladder.bench.inputs import emptied, made_once
from qat_ladder.bench.summaries import golden, write_summaries

_FULL = 1000


def summaries(setup: Setup, number: int) -> Path:
    """A run root with `number` summaries."""
    base = json.loads(golden(tasks.PROJECT).read_bytes())
    return made_once(setup.work / f"summaries-{number}", lambda root: write_summaries(root, base, number))


def compared(name: str, root: Path, out: Path) -> Contestant:
    """`qat-report compare` over a root."""
    command = ("-m", "qat_report", "compare", root, "--out", out)
    return Contestant(name=name, command=python(*command), before=emptied(out))


def _cases(setup: Setup) -> list[Case]:
    number = setup.scaled(_FULL)
    root = summaries(setup, number)
    ours = "qat-report compare"
    return [
        Case(
            name="compare",
            title=f"A report on {number} summaries",
            about="From the files to comparison.json, summary.md and index.html with its plots. The floor is parsing "
            "their JSON; half of the time is matplotlib's, which does not grow with the runs (Growth): its import, "
            "and laying out and drawing two figures of ten panels. What was done: a figure is laid out once, not "
            "twice; runs of a panel that are too many to be told apart are one stroke. What was considered and left: "
            "margins that measure no text, since the names of methods are the user's.",
            reference="parsing the JSON",
            rounds=2,
            warm=True,
            contestants=(
                Contestant(name="parsing the JSON", command=python("-c", peers.PARSE, root)),
                compared(ours, root, setup.work / "compared"),
            ),
            targets=(Target(contestant=ours, at_most=5.0),),
        )
    ]


GROUP = Group(
    name="report",
    title="Report",
    about="Two variants, ten methods, fifty seeds, twelve epochs each.",
    cases=_cases,
)
