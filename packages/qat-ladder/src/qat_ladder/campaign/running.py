"""Do the units of a campaign, within a budget of hours; what fails does not stop the others."""

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

import qat_artifacts
from qat_artifacts import Exit
from qat_ladder.campaign.file import Campaign
from qat_ladder.campaign.speed import Speeds
from qat_ladder.campaign.telling import as_text, survey
from qat_ladder.campaign.units import Opened, Unit, in_order, open_blocks
from qat_ladder.errors import ConfigError, LadderError
from qat_ladder.estimate import spell
from qat_ladder.launch import say
from qat_ladder.layout import Root
from qat_ladder.live import Board, board
from qat_ladder.locking import held
from qat_ladder.stage import board_rows, run_stage
from qat_ladder.version import CREATED_BY

RECORD = "campaign.json"


def recorded(root: Path) -> Campaign:
    """The campaign of a root, as its last call asked for it.

    Raises:
        ConfigError: there is none.
        ArtifactError: its record cannot be read.
    """
    if not (root / RECORD).exists():
        raise ConfigError(f"{root} holds no {RECORD}; run `invoke campaign.run --file F --root {root}` first")
    return qat_artifacts.read(root / RECORD, Campaign)


def run_campaign(
    campaign: Campaign,
    *,
    project: Path,
    root: Path,
    stop_doomed: bool = False,
    plain: bool = False,
    now: Callable[[], float] = time.monotonic,
) -> int:
    """Train what is not done, in the order of `in_order`, each unit as a stage of the ladder in its block's run root.

    A unit is started if it fits into what is left of the budget, by the speed measured so far; one that is running is
    never cut off. What a call leaves out, the next one does.

    Args:
        campaign: as it is run, with the budget of this call.
        project: the folder that holds configs/.
        root: of the campaign; blocks lie below it.
        stop_doomed: end training runs whose signs of collapse stand; see `qat_ladder.doomed`.
        plain: lines instead of a live table.
        now: seconds of a clock.

    Returns:
        0, or 6 where a training run failed; a budget that is reached is no fault.

    Raises:
        ConfigError: of any block, before anything is started.
        Busy: another campaign is at work in this root.
    """
    blocks = open_blocks(campaign, project=project, root=root)
    say(as_text(survey(campaign, blocks, root)))
    started, budget = now(), campaign.budget_hours
    with held(Root(root)):
        qat_artifacts.write(root / RECORD, campaign, created_by=CREATED_BY)
        waiting = [unit for unit in in_order(blocks) if unit.state() != "done"]
        left_out: list[str] = []
        faults: dict[str, str] = {}
        hopeless: set[tuple[str, str]] = set()  # arms of blocks, after a fault that their other seeds share
        with board(_board_rows(waiting), plain=plain) as shown:
            for number, unit in enumerate(waiting, start=1):
                arm = unit.block, unit.run.arm
                if arm in hopeless:
                    faults[unit.name] = "not tried, for the fault above"
                    continue
                left = None if budget is None else budget * 3600 - (now() - started)
                if left is not None and not _fits(unit, blocks, left):
                    left_out.append(unit.name)
                    continue
                say(f"\n[{number} of {len(waiting)}] {unit.name}: {', '.join(unit.request.methods)}{_clock(left)}")
                try:
                    code = _work_on(unit, shown, stop_doomed=stop_doomed)
                except (LadderError, qat_artifacts.ArtifactError) as error:
                    if isinstance(error, LadderError) and error.interrupted:
                        raise
                    faults[unit.name] = str(error)
                    hopeless.add(arm)
                else:
                    if code:
                        faults[unit.name] = _fault(unit)
    return _conclude(blocks, left_out, faults, budget)


def _fits(unit: Unit, blocks: Sequence[Opened], left: float) -> bool:
    """Whether a unit may be started; one whose time nobody can tell may, as long as there is any."""
    expected = Speeds.of(blocks).left(unit)
    return left > 0 and (expected is None or expected <= left)


def _clock(left: float | None) -> str:
    return "" if left is None else f"; {spell(left)} of the budget left"


def _board_rows(units: Sequence[Unit]) -> dict[Path, tuple[str, int]]:
    """Training runs by their folders; blocks may have runs of one name."""
    return {
        folder: (f"{unit.block} {name}", epochs)
        for unit in units
        for folder, (name, epochs) in board_rows(unit.root, [unit.run]).items()
    }


def _work_on(unit: Unit, shown: Board, *, stop_doomed: bool) -> int:
    """The stage; its table goes to stderr, for stdout is the campaign's."""
    with contextlib.redirect_stdout(sys.stderr):
        return run_stage(attrs.evolve(unit.request, stop_doomed=stop_doomed), shown)


def _fault(unit: Unit) -> str:
    stopped = next((row.reason for row in unit.rows() if row.state == "stopped"), None)
    if stopped:
        return f"stopped: {stopped}"
    log = unit.root.trajectory(unit.run.variant, unit.run.arm, unit.run.seed) / "log.txt"
    return f"a row failed; see {log}"


def _conclude(blocks: Sequence[Opened], left_out: list[str], faults: dict[str, str], budget: float | None) -> int:
    """Say what is done, what failed, and last what is left out; returns the exit code."""
    states = [unit.state() for block in blocks for unit in block.units]
    for name, fault in faults.items():
        say(f"error: {name}: {fault}")
    print(f"{states.count('done')} of {len(states)} training runs done")
    if left_out:
        print(
            f"the budget of {budget:g} h left out {len(left_out)}: {'; '.join(left_out)}\n"
            "budget reached: the same command again goes on"
        )
    return Exit.CELL_FAILED if faults else Exit.OK
