"""What a call changes in a campaign: other data, another profile, single keys."""

import math
from collections.abc import Iterator

import attrs

from qat_ladder.campaign.file import Block, Campaign
from qat_ladder.compose import flatten, parse_setting
from qat_ladder.errors import ConfigError
from qat_ladder.plan import Value

# What a block says about these was chosen for its own data: schedule, image size, which images, which weights.
_OF_THE_DATA = ("data.", "training.", "pretrain.", "model.")


def parse_budget(text: str) -> float | None:
    """Hours of `10` or `0.5`; None of "".

    Raises:
        ConfigError: no finite number above 0.
    """
    try:
        hours = float(text) if text else None
    except ValueError:
        hours = math.nan
    if hours is not None and not (math.isfinite(hours) and hours > 0):
        raise ConfigError(f"--budget {text!r}: expected hours above 0, such as 10 or 0.5")
    return hours


@attrs.frozen(kw_only=True)
class Override:
    """Flags of a call, "" where not given. `settings` are texts of --set."""

    profile: str = ""
    coco_root: str = ""
    checkpoint: str = ""
    device: str = ""
    settings: tuple[str, ...] = ()

    def words(self) -> Iterator[str]:
        """The flags as they were given."""
        for flag in ("profile", "coco_root", "checkpoint", "device"):
            if value := getattr(self, flag):
                yield from (f"--{flag.replace('_', '-')}", value)
        for text in self.settings:
            yield from ("--set", text)


def override(campaign: Campaign, asked: Override) -> tuple[Campaign, list[str]]:
    """The campaign that is run, and a line for each block that joined another.

    With `coco_root`, blocks keep what they say about the quantizer, averaging, correction and interventions; data,
    weights, profile, image size and schedule are those of the flags. Blocks that differed in these alone are then one
    comparison: it has the first one's name and the rows of all.

    Raises:
        ConfigError: a text of --set is no section.key=value.
    """
    given: dict[str, Value] = {}
    for text in asked.settings:
        given |= flatten(parse_setting(text).content)
    if asked.device:
        given["training.device"] = asked.device
    changed = [_changed(block, asked, given) for block in campaign.blocks]
    joined, notes = _join(changed) if asked.coco_root else (changed, [])
    command = (*campaign.command, *asked.words())
    return attrs.evolve(campaign, command=command, blocks=tuple(joined)), notes


def _changed(block: Block, asked: Override, given: dict[str, Value]) -> Block:
    kept = block.set
    if asked.coco_root:
        kept = {key: value for key, value in kept.items() if not key.startswith(_OF_THE_DATA)}
        block = attrs.evolve(block, title="", coco_root=asked.coco_root, checkpoint="", profile="")
    return attrs.evolve(
        block,
        checkpoint=asked.checkpoint or block.checkpoint,
        profile=asked.profile or block.profile,
        set=kept | given,
    )


def _join(blocks: list[Block]) -> tuple[list[Block], list[str]]:
    kept: list[Block] = []
    notes = []
    for block in blocks:
        same = next((index for index, other in enumerate(kept) if other.recipe() == block.recipe()), None)
        if same is None:
            kept.append(block)
            continue
        first = kept[same]
        notes.append(f"{block.name} is {first.name} on these data: its rows join that block")
        kept[same] = attrs.evolve(first, rows=tuple(dict.fromkeys((*first.rows, *block.rows))))
    return kept, notes
