"""`campaign.plan|run|status|report`: many comparisons from one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import Collection

from qat_artifacts import Exit
from qat_ladder.tasks.frame import guard, help_of, project, task

if TYPE_CHECKING:
    from qat_ladder.campaign.file import Campaign

_FILE = "configs/campaigns/first.toml"
_ROOT = "runs/campaign"
_HELP = {
    "file": "The campaign, a TOML file; see configs/campaigns.",
    "root": "Folder of the campaign; each block is a run root below it.",
    "budget": "Hours of this call; the file's without it.",
    "coco-root": "Other data for every block, with the profile's schedule; blocks that are then the same are joined.",
    "profile": "Another profile for every block.",
    "checkpoint": "Other starting weights for every block.",
    "device": "cpu, auto, a CUDA index, or several for each run, such as 0,1.",
    "set": "section.key=value for every block; may be repeated.",
}
_JSON = "One JSON document."


def _asked(flags: Mapping[str, Any]) -> "Campaign":
    """The campaign of --file under the other flags; blocks that join others are named on stderr.

    Raises:
        ConfigError: the file or a flag is wrong.
    """
    import attrs

    from qat_ladder.campaign.file import read_file
    from qat_ladder.campaign.override import Override, override, parse_budget
    from qat_ladder.launch import say

    asked = Override(
        profile=flags["profile"],
        coco_root=flags["coco_root"],
        checkpoint=flags["checkpoint"],
        device=flags["device"],
        settings=tuple(flags["set"] or ()),
    )
    campaign, notes = override(read_file(Path(flags["file"]), project()), asked)
    for note in notes:
        say(note)
    budget = parse_budget(flags["budget"])
    return campaign if budget is None else attrs.evolve(campaign, budget_hours=budget)


def _show(campaign: "Campaign", root: Path, *, json: bool, pace: Any = None) -> int:
    from qat_ladder.campaign.telling import as_json, as_text, survey
    from qat_ladder.campaign.units import open_blocks
    from qat_ladder.forecast.paces import read_paces

    paces = read_paces([Path(name) for name in pace or ()])
    told = survey(campaign, open_blocks(campaign, project=project(), root=root), root, paces)
    print(as_json(told) if json else as_text(told))
    return Exit.OK


@task(
    help=_HELP | {"json": _JSON, "pace": "A file of `qat-train pace`, perhaps from another machine; may be repeated."},
    iterable=["set", "pace"],
)
def plan(  # noqa: PLR0917  # invoke makes a flag of every parameter
    _context: Any,
    file: str = _FILE,
    root: str = _ROOT,
    budget: str = "",
    coco_root: str = "",
    profile: str = "",
    checkpoint: str = "",
    device: str = "",
    set: Any = None,
    json: bool = False,
    pace: Any = None,
) -> None:
    """Blocks, training runs in their order, how far they are, and what is left in hours and disk.

    Example: invoke campaign.plan --file configs/campaigns/first.toml --budget 10
    """
    flags = dict(locals())
    guard(lambda: _show(_asked(flags), Path(root), json=json, pace=pace))


@task(
    help=_HELP | help_of("stop-doomed", "plain", **{"dry-run": "As campaign.plan: start and write nothing."}),
    iterable=["set"],
)
def run(  # noqa: PLR0917  # invoke makes a flag of every parameter
    _context: Any,
    file: str = _FILE,
    root: str = _ROOT,
    budget: str = "",
    coco_root: str = "",
    profile: str = "",
    checkpoint: str = "",
    device: str = "",
    set: Any = None,
    dry_run: bool = False,
    stop_doomed: bool = False,
    plain: bool = False,
) -> None:
    """Train what a campaign lacks, the most informative runs first, within a budget; the same call again goes on.

    What fails does not stop the rest: exit 6 at the end. A budget that is reached is no fault.

    Example: invoke campaign.run --file configs/campaigns/first.toml --budget 10
    """
    flags = dict(locals())

    def body() -> int:
        from qat_ladder.campaign.running import run_campaign

        campaign = _asked(flags)
        if dry_run:
            return _show(campaign, Path(root), json=False)
        return run_campaign(campaign, project=project(), root=Path(root), stop_doomed=stop_doomed, plain=plain)

    guard(body, resumes=not dry_run)


@task(help={"root": _HELP["root"], "json": _JSON})
def status(_context: Any, root: str = _ROOT, json: bool = False) -> None:
    """How far the campaign of a root is, what the same call again would do, and who is at work there."""

    def body() -> int:
        from qat_ladder.campaign.running import recorded

        return _show(recorded(Path(root)), Path(root), json=json)

    guard(body)


@task(
    help={
        "root": _HELP["root"],
        "out": "Folder of campaign.md and of a folder for each block; the root without it.",
        "findings": "Markdown file with what you read from the numbers, to stand before them.",
    }
)
def report(_context: Any, root: str = _ROOT, out: str = "", findings: str = "") -> None:
    """Write campaign.md with a table and a plot of every block, and each block's comparison.json.

    Example: invoke campaign.report --out docs/results/campaign
    """

    def body() -> int:
        from qat_ladder.campaign.page import write_report
        from qat_ladder.campaign.running import recorded

        given = Path(findings) if findings else None
        print(write_report(recorded(Path(root)), Path(root), Path(out or root), findings=given))
        return Exit.OK

    guard(body)


def collection() -> Collection:
    """`campaign.plan`, `campaign.run`, `campaign.status`, `campaign.report`."""
    return Collection("campaign", plan, run, status, report)
