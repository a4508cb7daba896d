"""What a training run will take: measured where something ran, guessed elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import ClassVar, Literal

import attrs

import qat_artifacts
from qat_ladder.campaign.units import Opened, Unit
from qat_ladder.cells import cells_from
from qat_ladder.compose import Resolved
from qat_ladder.estimate import START_UP, seconds_per_epoch, work
from qat_ladder.forecast.costs import CORRECTION, bytes_of
from qat_ladder.forecast.paces import PaceView, epoch_seconds
from qat_ladder.status import epochs_done


@attrs.frozen(kw_only=True)
class _Training:
    epochs: int


@attrs.frozen(kw_only=True)
class RunView:
    """Of run.json: `seconds` of training and validation, over all calls that it took."""

    SCHEMA: ClassVar[str] = "qat-train/run"
    VERSION: ClassVar[str] = "1.0"

    status: Literal["running", "completed", "failed"]
    training: _Training
    seconds: float


def _epoch_seconds(folder: Path) -> float | None:
    """Mean seconds of an epoch of one run; None before its first."""
    if not (folder / "run.json").exists():
        return None
    run = qat_artifacts.read_view(folder / "run.json", RunView)
    if run.status == "completed" and run.seconds > 0:
        return run.seconds / run.training.epochs
    return epoch_seconds(folder)


def measured(block: Opened) -> dict[str, float]:
    """Seconds of an epoch by arm, the median over the runs of a block; arms where no epoch ended are absent."""
    found: dict[str, list[float]] = {}
    for folder in block.root.path.glob(f"trajectories/{block.block.variant}/*/seed*"):
        seconds = _epoch_seconds(folder)
        if seconds is not None:
            found.setdefault(folder.parent.name, []).append(seconds)
    return {arm: median(times) for arm, times in found.items()}


@attrs.frozen
class Speeds:
    """Seconds per epoch: by arm within blocks where something ran, and per unit of work over all of them."""

    by_arm: Mapping[str, Mapping[str, float]]
    blocks: Mapping[str, Opened]
    per_work: float | None
    paces: Sequence[PaceView] = ()

    @classmethod
    def of(cls, blocks: Sequence[Opened], paces: Sequence[PaceView] = ()) -> "Speeds":
        """As far as the blocks' run roots show it now, and measurements of such runs made elsewhere."""
        by_arm = {block.block.name: measured(block) for block in blocks}
        rates = []
        for block in blocks:
            for unit in block.units:
                one = _work(unit, block)
                if one and (seconds := by_arm[block.block.name].get(unit.run.arm)):
                    rates.append(seconds / one)
        return cls(by_arm, {block.block.name: block for block in blocks}, median(rates) if rates else None, paces)

    def epoch(self, unit: Unit) -> float | None:
        """Seconds of one epoch: as its arm took in its block, else as other arms there, else by a measurement that
        fits, else by work, else guessed.

        By work means: as long as other blocks took for as many images of this size. None where nothing ran yet and a
        GPU will be used, or where the images are not known.
        """
        here = self.by_arm[unit.block]
        if here:
            return here.get(unit.run.arm) or median(here.values())
        block = self.blocks[unit.block]
        one = _work(unit, block)
        if one is None or block.images is None:
            return None
        config = unit.run.methods[0].config
        for pace in self.paces:
            if pace.fits(config):
                return pace.epoch(block.images, len(unit.run.series))
        if self.per_work is not None:
            return self.per_work * one
        return seconds_per_epoch(config, *block.images, len(unit.run.series))

    def left(self, unit: Unit) -> float | None:
        """Seconds that a unit has left, start-up included; 0 of one that is done, None where nobody can say.

        An epoch of a correction counts as `CORRECTION` epochs of training. Not in it is what a block does once:
        preparing its data, and fine-tuning where their classes are not the checkpoint's.
        """
        if unit.state() == "done":
            return 0.0
        epoch = self.epoch(unit)
        if epoch is None:
            return None
        epochs = unit.run.methods[0].config.training.epochs - epochs_done(unit.root, cells_from(unit.run)[0])
        passes = CORRECTION * sum(method.config.qc.epochs for method in _to_correct(unit))
        return START_UP + epoch * (epochs + passes)


def _work(unit: Unit, block: Opened) -> float | None:
    return work(unit.run.methods[0].config, *block.images, len(unit.run.series)) if block.images else None


def _to_correct(unit: Unit) -> list[Resolved]:
    """Methods whose correction is still to be made."""
    return [
        method
        for method in unit.run.methods
        if method.config.method.correction
        and not (
            unit.root.correction(unit.run.variant, unit.run.arm, unit.run.seed, method.config.method.name) / "qc.json"
        ).exists()
    ]


def total(seconds: Iterable[float | None]) -> float | None:
    """The sum; None as soon as one is not known."""
    found = list(seconds)
    return None if any(one is None for one in found) else sum(one for one in found if one is not None)


def bytes_left(unit: Unit) -> float:
    """Disk that a unit will still fill."""
    run = unit.root.trajectory(unit.run.variant, unit.run.arm, unit.run.seed)
    trained = (run / "checkpoint" / "checkpoint.json").exists()
    return bytes_of(unit.run.variant, corrections=len(_to_correct(unit)), trained=trained)
