"""From blocks to units of work: one training run each, with all rows that come from it."""

import os
from collections.abc import Sequence
from pathlib import Path
from string import Template

import attrs
import tomli_w

from qat_ladder.campaign.file import Block, Campaign
from qat_ladder.cells import Trajectory, cells_from
from qat_ladder.compose import Resolved, flatten, parse_setting
from qat_ladder.dataset import image_counts
from qat_ladder.errors import ConfigError
from qat_ladder.estimate import work
from qat_ladder.flags import Request
from qat_ladder.layout import Root
from qat_ladder.plan import Plan, Value, arm_of, binding_plan, extend, make_plan
from qat_ladder.stage import check_series, resolve_rows, trajectories
from qat_ladder.status import CellStatus, State, cell_status


@attrs.frozen(kw_only=True)
class Unit:
    """One training run of a block and its rows. `rank`: 0 for the first seed of its arm, 1 for the second, ..."""

    block: str
    tier: int
    rank: int
    request: Request
    run: Trajectory

    @property
    def root(self) -> Root:
        """Run root of its block."""
        return Root(self.request.root)

    @property
    def name(self) -> str:
        """Such as "coco128-w4 learned-true seed1"."""
        return f"{self.block} {self.run.arm} seed{self.run.seed}"

    def rows(self) -> list[CellStatus]:
        """How far each row is."""
        return [cell_status(self.root, cell) for cell in cells_from(self.run)]

    def state(self) -> State:
        """The state of a unit: done with its last row; otherwise the worst of its rows."""
        found = {row.state for row in self.rows()}
        if found in ({"waiting"}, {"done"}, {"stopped"}):
            return found.pop()
        return "failed" if "failed" in found else "interrupted"


@attrs.frozen(kw_only=True)
class Opened:
    """A block with its run root, its units and its images (training, validation); None where nobody can say yet."""

    block: Block
    root: Root
    images: tuple[int, int] | None
    units: tuple[Unit, ...]

    @property
    def work(self) -> float:
        """Cost of its first training run, to compare blocks by; infinite where its images are not known."""
        run = self.units[0].run
        config = run.methods[0].config
        return config.training.epochs * work(config, *self.images, len(run.series)) if self.images else float("inf")


def expand(text: str, where: str) -> str:
    """A text of the file, with the values of its environment variables.

    Raises:
        ConfigError: one is not set, or a $ names none; the text begins with `where`.
    """
    try:
        return Template(text).substitute(os.environ)
    except KeyError as error:
        name = error.args[0]
        raise ConfigError(f"{where}: {text}: the environment variable {name} is not set; export {name}=...") from error
    except ValueError as error:
        raise ConfigError(f"{where}: {text}: a $ that names no variable; write $$ for the character") from error


def request_of(block: Block, methods: Sequence[str], seeds: Sequence[int], *, project: Path, root: Path) -> Request:
    """What the ladder is asked for to train these rows.

    Args:
        block: with its variant.
        methods: names, no patterns.
        seeds: of the training runs.
        project: the folder that holds configs/.
        root: of the campaign.

    Raises:
        ConfigError: an environment variable is not set.
    """
    return Request(
        variant=block.variant,
        project=project,
        seeds=list(seeds),
        methods=list(methods),
        profile=block.profile,
        coco_root=expand(block.coco_root, "coco_root"),
        checkpoint=expand(block.checkpoint, "checkpoint"),
        root=root / block.name,
        settings=tuple(settings_of(block)),
    )


def settings_of(block: Block, *, expanded: bool = True) -> list[str]:
    """The block's keys as texts of --set, with or without the values of environment variables."""
    return [
        _setting(key, expand(value, f"set: {key}") if expanded and isinstance(value, str) else value)
        for key, value in block.set.items()
    ]


def _setting(key: str, value: Value) -> str:
    """`key=value`; a string stands bare where --set reads the same from it."""
    bare = f"{key}={value}"
    if isinstance(value, str) and value in flatten(parse_setting(bare).content).values():
        return bare
    return f"{key}={tomli_w.dumps({'value': value}).partition('=')[2].strip()}"


def open_blocks(campaign: Campaign, *, project: Path, root: Path) -> list[Opened]:
    """Resolve every block, hold it against what its run root holds, and split it into units.

    Raises:
        ConfigError: of any block: a wrong key, a key that has another value in its run root, or a run that validates
            other weights than its rows need. The text names the block.
    """
    opened = []
    for block in campaign.blocks:
        try:
            opened.append(_open(block, project, root))
        except ConfigError as error:
            raise ConfigError(f"block {block.name}: {error}") from error
    return opened


def _open(block: Block, project: Path, root: Path) -> Opened:
    own = Root(root / block.name)
    old = plan = binding_plan(own)
    found: dict[tuple[str, int], dict[str, Resolved]] = {}  # methods by arm and seed
    tiers: dict[tuple[str, int], int] = {}
    for rows in block.rows:
        resolved = resolve_rows(request_of(block, rows.methods, rows.seeds, project=project, root=root))
        new = make_plan(resolved, list(rows.seeds), "shared")
        plan = extend(plan, new, own)
        for method in resolved:
            for seed in rows.seeds:
                key = arm_of(method, "shared"), seed
                found.setdefault(key, {})[method.config.method.name] = method
                tiers[key] = min(rows.tier, tiers.get(key, rows.tier))
    assert plan is not None  # a block has rows
    units = [
        Unit(
            block=block.name,
            tier=tiers[arm, seed],
            rank=sorted(other for name, other in found if name == arm).index(seed),
            request=request_of(block, list(methods), [seed], project=project, root=root),
            run=_run(list(methods.values()), seed, plan),
        )
        for (arm, seed), methods in found.items()
    ]
    check_series(own, [unit.run for unit in units], plan, "auto")
    config = units[0].run.methods[0].config
    fingerprint = old.data_fingerprint if old else ""
    return Opened(block=block, root=own, images=image_counts(config, own, fingerprint), units=tuple(units))


def _run(methods: list[Resolved], seed: int, plan: Plan) -> Trajectory:
    (run,) = trajectories(methods, [seed], plan)
    return run


def in_order(blocks: Sequence[Opened]) -> list[Unit]:
    """Units, the most informative first.

    Tier by tier; in a tier the first seed of every arm of every block before any second one, for that an arm exists
    tells more than how precise it is; among those, cheap blocks before dear ones, and the order of the file.
    """
    keyed = [
        ((unit.tier, unit.rank, block.work, place), unit) for place, block in enumerate(blocks) for unit in block.units
    ]
    return [unit for _, unit in sorted(keyed, key=lambda pair: pair[0])]
