"""How far a campaign is, for people and as JSON: blocks, units in their order, what is left."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qat_artifacts
from qat_ladder.campaign.file import Campaign
from qat_ladder.campaign.speed import Speeds, bytes_left, total
from qat_ladder.campaign.units import Opened, Unit, in_order
from qat_ladder.estimate import spell
from qat_ladder.forecast.paces import PaceView
from qat_ladder.layout import Root
from qat_ladder.locking import holder

_UNKNOWN = "time is known after the first epoch"


def survey(campaign: Campaign, blocks: Sequence[Opened], root: Path, paces: Sequence[PaceView] = ()) -> dict[str, Any]:
    """Everything that is told, as JSON values.

    `seconds_left` is null where nobody can say; `within_budget` says whether a unit that is not done would be started
    by a call with the campaign's budget, should every estimate hold; null without one.

    Args:
        campaign: as it is run.
        blocks: of it.
        root: of the campaign.
        paces: measurements of `qat-train pace`, for blocks where nothing ran yet.
    """
    speeds = Speeds.of(blocks, paces)
    left = None if campaign.budget_hours is None else campaign.budget_hours * 3600
    units = []
    for unit in in_order(blocks):
        told = _unit(unit, speeds)
        if left is not None and told["state"] != "done":
            expected = told["seconds_left"] or 0.0
            told["within_budget"] = expected <= left
            left -= expected if told["within_budget"] else 0.0
        units.append(told)
    made = [_block(block, [told for told in units if told["block"] == block.block.name]) for block in blocks]
    return {
        "name": campaign.name,
        "root": str(root),
        "busy": holder(Root(root)),
        "budget_hours": campaign.budget_hours,
        "blocks": made,
        "units": units,
        "total": _sum(units),
    }


def _unit(unit: Unit, speeds: Speeds) -> dict[str, Any]:
    rows = unit.rows()
    return {
        "tier": unit.tier,
        "block": unit.block,
        "arm": unit.run.arm,
        "seed": unit.run.seed,
        "rows": [row.method for row in rows],
        "rows_done": sum(row.state == "done" for row in rows),
        "state": unit.state(),
        "seconds_left": speeds.left(unit),
        "bytes_left": round(bytes_left(unit)),
        "within_budget": None,
    }


def _block(block: Opened, units: Sequence[dict[str, Any]]) -> dict[str, Any]:
    about = block.block
    return {
        "name": about.name,
        "title": about.title,
        "variant": about.variant,
        "root": str(block.root.path),
        "images": list(block.images) if block.images else None,
        **_sum(units),
    }


def _sum(units: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "runs": len(units),
        "rows": sum(len(unit["rows"]) for unit in units),
        "rows_done": sum(unit["rows_done"] for unit in units),
        "states": dict(Counter(unit["state"] for unit in units)),
        "seconds_left": total(unit["seconds_left"] for unit in units),
        "bytes_left": sum(unit["bytes_left"] for unit in units),
    }


def as_json(told: dict[str, Any]) -> str:
    """One document."""
    return qat_artifacts.dumps(told).rstrip()


def as_text(told: dict[str, Any]) -> str:
    """A line for each block, and one for each unit that is not done, in the order of work."""
    limit = "no budget" if told["budget_hours"] is None else f"a budget of {told['budget_hours']:g} h a call"
    lines = [f"campaign {told['name']} in {told['root']}, {limit}"]
    lines += [told["busy"]] if told["busy"] else []
    width = max(len(block["name"]) for block in told["blocks"])
    for block in told["blocks"]:
        images = f"{block['images'][0]} training and {block['images'][1]} validation images" if block["images"] else ""
        lines.append(f"  {block['name']:{width}}  {_progress(block)}")
        about = ", ".join(part for part in (block["title"], block["variant"], images) if part)
        lines.append(f"  {'':{width}}  {about}")
    lines.append(f"  {'total':{width}}  {_progress(told['total'])}")
    waiting = [unit for unit in told["units"] if unit["state"] != "done"]
    if waiting:
        lines.append("in this order:")
    arms = max((len(unit["arm"]) for unit in waiting), default=0)
    lines += [f"  {_line(unit, width, arms)}" for unit in waiting]
    return "\n".join(lines)


def _progress(part: dict[str, Any]) -> str:
    states = ", ".join(f"{number} {state}" for state, number in sorted(part["states"].items()))
    done = part["states"].get("done", 0) == part["runs"]
    return f"{part['runs']} training runs ({states}), {part['rows_done']} of {part['rows']} rows done" + (
        "" if done else f"; left: {_time(part['seconds_left'])}, {part['bytes_left'] / 1e9:.1f} GB"
    )


def _time(seconds: float | None) -> str:
    return _UNKNOWN if seconds is None else f"about {spell(seconds)}"


def _line(unit: dict[str, Any], blocks: int, arms: int) -> str:
    beyond = ", beyond the budget" if unit["within_budget"] is False else ""
    place = f"tier {unit['tier']}  seed {unit['seed']}  {unit['block']:{blocks}}  {unit['arm']:{arms}}"
    return f"{place}  {unit['state']:11}  {_time(unit['seconds_left'])}{beyond}: {', '.join(unit['rows'])}"
