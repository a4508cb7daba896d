"""The TOML file of a campaign, and its record campaign.json: what is asked for, before anything is resolved.

    name = "first"
    budget_hours = 10.0                        # of each call; --budget goes before it, no limit without
    variant = "yolo10n"                        # of blocks that name none

    [[block]]                                  # one comparison, one run root
    name = "coco128-w4"
    title = "COCO128, 4 bits"
    coco_root = "$QAT_TEST_DATA/data/coco128"  # the drawn data without it, as everywhere
    checkpoint = "$QAT_TEST_DATA/checkpoints/yolov10n-coco.pt"
    profile = "full"
    set = { training.imgsz = 320, quantization.bits = 4 }

    [[block.rows]]
    methods = ["baseline", "ema", "ema+qc"]    # or patterns such as "peer-*"
    seeds = [0, 1, 2]

    [[block.rows]]
    methods = ["dampening", "freezing"]
    seeds = [0, 1]
    tier = 2                                   # after every row of tier 1; 1 without it

Paths are those of the ladder's flags: relative to the working directory, and $NAME stands for an environment variable.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import attrs
import tomli

import qat_artifacts
from qat_ladder.compose import flatten
from qat_ladder.errors import ConfigError
from qat_ladder.flags import expand_methods
from qat_ladder.plan import Value

_VARIANTS = ("yolo10n", "yolo10s")


def _name(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError(f"{attribute.name} {value!r}: it becomes a folder; expected letters, digits, '.', '_' and '-'")


def _some(_: object, attribute: "attrs.Attribute[tuple[Any, ...]]", value: tuple[Any, ...]) -> None:
    if not value:
        raise ValueError(f"{attribute.name}: none is named")


@attrs.frozen(kw_only=True)
class Rows:
    """[[block.rows]]: methods over the same seeds, of the same importance; `tier` 1 comes before 2."""

    methods: tuple[str, ...] = attrs.field(validator=_some)
    seeds: tuple[int, ...] = attrs.field(validator=_some)
    tier: int = attrs.field(default=1)

    @seeds.validator
    def _repetitions(self, _: object, value: tuple[int, ...]) -> None:
        if len(set(value)) != len(value) or min(value) < 0:
            raise ValueError(f"seeds {list(value)}: expected different integers from 0; seeds are repetitions")

    @tier.validator
    def _from_one(self, _: object, value: int) -> None:
        if value < 1:
            raise ValueError(f"tier {value}: expected 1, the first, or more")


@attrs.frozen(kw_only=True)
class Block:
    """[[block]]: one comparison, in a run root of its own. `set` holds dotted keys as --set takes them."""

    name: str = attrs.field(validator=_name)
    title: str = ""
    variant: str = ""
    coco_root: str = ""
    checkpoint: str = ""
    profile: str = ""
    set: dict[str, Value] = attrs.field(factory=dict)
    rows: tuple[Rows, ...] = attrs.field(validator=_some)

    def recipe(self) -> tuple[Any, ...]:
        """What its rows are trained under."""
        return self.variant, self.coco_root, self.checkpoint, self.profile, sorted(self.set.items())


@attrs.frozen(kw_only=True)
class _File:
    """The file as it is written."""

    name: str = attrs.field(validator=_name)
    budget_hours: float | None = attrs.field(default=None)
    variant: str = _VARIANTS[0]
    block: tuple[Block, ...] = attrs.field(validator=_some)

    @budget_hours.validator
    def _positive(self, _: object, value: float | None) -> None:
        if value is not None and value <= 0:
            raise ValueError(f"budget_hours {value}: expected hours above 0")


@attrs.frozen(kw_only=True)
class Campaign:
    """campaign.json in the root of a campaign: what the last call asked for.

    `command` are the words that made it, the root aside. Blocks are those that are run: with variant and methods
    spelled out, and other data where the call gave some. Environment variables stand in them as in the file.
    """

    SCHEMA: ClassVar[str] = "ladder/campaign"
    VERSION: ClassVar[str] = "1.0"

    name: str
    command: tuple[str, ...]
    budget_hours: float | None
    blocks: tuple[Block, ...]


def read_file(path: Path, project: Path) -> Campaign:
    """Read a campaign's file.

    Args:
        path: of the TOML file.
        project: the folder with configs/methods, for patterns of methods.

    Raises:
        ConfigError: every fault of the file's shape at once, or what contradicts itself; the text names file and key.
    """
    try:
        content = tomli.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"--file {path}: {error.strerror}; see configs/campaigns for examples") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or nested too deeply
        raise ConfigError(f"{path}: {error}") from error
    blocks = content.get("block")
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and isinstance(block.get("set"), dict):
            block["set"] = flatten(block["set"])
    try:
        found = qat_artifacts.structure(content, _File, source=str(path))
    except qat_artifacts.InvalidArtifact as error:
        raise ConfigError(f"{path}:\n  " + "\n  ".join(error.faults)) from error
    made = tuple(_spelled_out(block, found.variant, project, path) for block in found.block)
    _refuse_repeated(made, path)
    command = ("--file", str(path))
    return Campaign(name=found.name, command=command, budget_hours=found.budget_hours, blocks=made)


def _spelled_out(block: Block, variant: str, project: Path, path: Path) -> Block:
    try:
        rows = tuple(
            attrs.evolve(rows, methods=tuple(expand_methods(rows.methods, project)), seeds=tuple(sorted(rows.seeds)))
            for rows in block.rows
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: block {block.name}: {error}") from error
    chosen = block.variant or variant
    if chosen not in _VARIANTS:
        remedy = "; yolo10m is behind the gate, and never part of a campaign: invoke ladder.m" * (chosen == "yolo10m")
        raise ConfigError(f"{path}: block {block.name}: variant {chosen!r}: expected {' or '.join(_VARIANTS)}{remedy}")
    return attrs.evolve(block, variant=chosen, rows=rows)


def _refuse_repeated(blocks: Iterable[Block], path: Path) -> None:
    names: dict[str, Block] = {}
    for block in blocks:
        if block.name in names:
            raise ConfigError(f"{path}: two blocks are named {block.name}; each is a run root of its own")
        for other in names.values():
            if other.recipe() == block.recipe():
                raise ConfigError(
                    f"{path}: blocks {other.name} and {block.name} differ in nothing but their rows; "
                    "they are one comparison: give all rows to one of them"
                )
        names[block.name] = block
