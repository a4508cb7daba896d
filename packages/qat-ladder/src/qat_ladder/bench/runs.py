"""Training runs on COCO128 that the groups measure: data, specifications, a finished one."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import attrs

from qat_ladder.bench import trainers
from qat_ladder.bench.case import Contestant, Setup, python
from qat_ladder.bench.inputs import made_once
from qat_ladder.launch import call

IMGSZ, BATCH, STEPS = 160, 16, 6  # with two steps of warm-up, COCO128's 128 images once
SMALL_BATCH = 4  # of the larger detectors
LEARNED = "bits = 4\nlearned = true"


_TRAINING = {"imgsz": str(IMGSZ), "batch": str(BATCH), "lr0": "1e-4", "lrf": "0.1", "device": '"cpu"'}


@attrs.frozen
class Runs:
    """Where they and what they need lie. `missing`: why none can be made here. `training`: its keys, as TOML."""

    setup: Setup
    folder: Path
    dataset: Path
    coco_root: Path
    checkpoint: Path
    missing: str
    training: Mapping[str, str]

    @classmethod
    def of(cls, setup: Setup, name: str = "training", **training: str) -> "Runs":
        """Prepare the data, where they are.

        Args:
            setup: of the group.
            name: of the folder for specifications.
            training: keys of [training] beside those of a run on the CPU, as TOML.
        """
        real = setup.data or Path("nowhere")
        checkpoint, root = real / "checkpoints" / "yolov10n-coco.pt", real / "data" / "coco128"
        missing = "" if checkpoint.is_file() else "needs $QAT_TEST_DATA with COCO128 and its checkpoint"
        folder, dataset = setup.work / name, setup.work / "coco128-prepared"
        folder.mkdir(exist_ok=True)
        if not missing:
            made_once(dataset, lambda out: call("qat-data", "prepare", "--coco-root", root, "--out", out))
        return cls(setup, folder, dataset, root, checkpoint, missing, _TRAINING | training)

    def one(
        self,
        name: str,
        program: str,
        quantization: str,
        *needs: str,
        ema: bool = False,
        steps: int = STEPS,
        size: str = "",
    ) -> Contestant:
        """A program on the specification of a run; of another size than n, with random weights."""
        slug = "".join(c if c.isalnum() else "-" for c in f"{name}-{'ema' if ema else 'raw'}")
        if size:
            weights = self._random(size) if not self.missing else Path()
            small = attrs.evolve(self, training={**self.training, "batch": str(SMALL_BATCH)})
            spec = small._spec(slug, quantization, ema=ema, checkpoint=weights, scale=size)
        else:
            spec = self._spec(slug, quantization, ema=ema, checkpoint=self.checkpoint)
        return Contestant(
            name=name,
            command=python("-c", program, spec, str(steps)),
            timed="printed",
            needs=needs,
            missing=self.missing,
        )

    def finished(self) -> Path:
        """A run of one epoch on all cores, which are those of its correction too."""
        out = self.setup.work / f"finished-run-{len(os.sched_getaffinity(0))}"
        if not self.missing:
            series = '["raw", "ema"]'
            spec = self._spec("finished", LEARNED, ema=True, checkpoint=self.checkpoint, series=series)
            made_once(out, lambda part: call("qat-train", "run", "--spec", spec, "--out", part))
        return out

    def _spec(
        self,
        name: str,
        quantization: str,
        *,
        ema: bool,
        checkpoint: Path,
        series: str = '["raw"]',
        scale: str = "n",
    ) -> Path:
        path = self.folder / f"{name}.toml"
        training = "\n".join(f"{key} = {value}" for key, value in self.training.items())
        path.write_text(
            f"""\
[run]
run_id = "bench/seed0"
trajectory_id = "bench/seed0"
seed = 0
series = {series}

[model]
variant = "yolo10{scale}"
checkpoint = '{checkpoint}'

[data]
dataset = '{self.dataset / "dataset.json"}'

[training]
epochs = 1
{training}

[ema]
enabled = {str(ema).lower()}

[quantization]
init = "max"
{quantization}
""",
            encoding="utf-8",
        )
        return path

    def _random(self, size: str) -> Path:
        """Weights of another size; how long a step takes does not depend on them."""

        def make(out: Path) -> None:
            program = python("-c", trainers.RANDOM, f"yolov10{size}.yaml", self.dataset / "data.yaml", out)
            subprocess.run(program, check=True, stdout=subprocess.DEVNULL)

        return made_once(self.setup.work / f"yolov10{size}-random.pt", make)
