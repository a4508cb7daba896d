"""Where the speed of a training run is known from: its root, a measurement of its own, one made elsewhere, a guess."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import ClassVar, Literal

import attrs

import qat_artifacts
from qat_ladder.cells import Trajectory
from qat_ladder.config import Config
from qat_ladder.estimate import START_UP, seconds_per_epoch
from qat_ladder.launch import call, say
from qat_ladder.layout import Root
from qat_ladder.training import specification, trusting, write_specification

# In equal parts: the run's own start, its references, and the start of a correction.
_GUESSED = {"start": START_UP / 3, "references": START_UP / 3}

Source = Literal["measured in this root", "measured by qat-train pace", "guessed from the CPU"]


@attrs.frozen(kw_only=True)
class PaceView:
    """Of what `qat-train pace` measured: seconds of a step of `batch` images and of an image of an evaluation."""

    SCHEMA: ClassVar[str] = "qat-train/pace"
    VERSION: ClassVar[str] = "1.0"

    variant: str
    quantizer: str
    imgsz: int
    batch: int
    amp: bool
    bits: int
    learned: bool
    interventions: tuple[str, ...]
    device: str
    step_seconds: float
    image_seconds: float
    start_seconds: float

    def fits(self, config: Config) -> bool:
        """Whether it was measured on such a training run; the data do not matter, their number is known."""
        training, key = config.training, config.quantization
        ours = (self.variant, self.quantizer, self.imgsz, self.batch, self.amp, self.bits, self.learned)
        theirs = (config.model.variant, key.quantizer, training.imgsz, training.batch, training.amp)
        return ours == (*theirs, key.bits, key.learned) and set(self.interventions) == set(config.interventions)

    def epoch(self, images: tuple[int, int], series: int) -> float:
        """Seconds of one epoch over so many training and validation images."""
        return -(-images[0] // self.batch) * self.step_seconds + series * images[1] * self.image_seconds


@attrs.frozen(kw_only=True)
class Speed:
    """Seconds of an epoch, of a process until its first step, and of the references; on what, and how anybody knows."""

    epoch: float
    start: float
    references: float = 0.0
    source: Source
    device: str


def read_paces(paths: Sequence[Path]) -> list[PaceView]:
    """Measurements from files.

    Raises:
        ArtifactError: one of them is none.
    """
    return [qat_artifacts.read_view(path, PaceView) for path in paths]


def epoch_seconds(folder: Path) -> float | None:
    """Mean seconds of a finished epoch of the run in `folder`; None before its first.

    Raises:
        ArtifactError: its lines cannot be read.
    """
    lines = folder / "metrics.jsonl"
    try:
        found = [float(qat_artifacts.loads(line)["seconds"]) for line in lines.read_bytes().splitlines()]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise qat_artifacts.InvalidArtifact(str(lines), (f"no seconds in one of its lines: {error}",)) from error
    return sum(found) / len(found) if found else None


def speed_of(
    run: Trajectory,
    root: Root,
    images: tuple[int, int] | None,
    paces: Sequence[PaceView],
    *,
    measured: PaceView | None = None,
    other_data: bool = False,
) -> Speed | None:
    """What is known best: a measurement of this very arm, epochs of it in this root, one that fits, a guess, nothing.

    Args:
        run: whose speed is asked for.
        root: where it or another seed of its arm may have run.
        images: training and validation images of the plan.
        paces: measurements; the first one that fits counts.
        measured: a measurement of this arm, made for this question.
        other_data: `images` are not those of the root, whose epochs then say nothing.
    """
    config, series = run.methods[0].config, len(run.series)
    if measured is None and not other_data:
        folder = root.trajectory(run.variant, run.arm, run.seed).parent
        here = [seconds for one in sorted(folder.glob("seed*")) if (seconds := epoch_seconds(one)) is not None]
        if here:
            return Speed(epoch=median(here), **_GUESSED, source="measured in this root", device="as in this root")
    if images is None:
        return None
    for pace in [measured] if measured else [pace for pace in paces if pace.fits(config)]:
        return Speed(
            epoch=pace.epoch(images, series),
            start=pace.start_seconds,
            references=2 * images[1] * pace.image_seconds,  # FP32 and PTQ
            source="measured by qat-train pace",
            device=pace.device,
        )
    guess = seconds_per_epoch(config, *images, series)
    return None if guess is None else Speed(epoch=guess, **_GUESSED, source="guessed from the CPU", device="cpu")


def measure(run: Trajectory, root: Root, *, dataset: Path, checkpoint: str, steps: int) -> Path:
    """Let `qat-train pace` try a run on this machine; the file lies in the root, and is made again each time.

    Raises:
        LadderError: the product's own text and exit code.
    """
    config = run.methods[0].config
    folder = root.path / "pace" / run.variant / run.arm
    content = specification(
        config,
        run_id=f"pace/{run.variant}/{run.arm}",
        seed=run.seed,
        series=list(run.series),
        dataset=dataset,
        checkpoint=checkpoint,
        references=None,
        overrides={},
    )
    content["training"]["device"] = config.training.first_device
    spec = write_specification(folder / "run.toml", content)
    say(
        f"{run.variant}/{run.arm}: measuring {steps} steps at {config.training.imgsz} px, batch {config.training.batch}"
    )
    call(
        "qat-train",
        "pace",
        "--spec",
        spec,
        "--steps",
        str(steps),
        "--out",
        folder / "pace.json",
        *trusting(config.model.trust_checkpoint),
    )
    return folder / "pace.json"
