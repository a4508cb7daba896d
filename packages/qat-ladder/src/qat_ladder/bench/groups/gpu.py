"""What quantization adds to a training step on a GPU; a group of its own, as its record may be another machine's."""

import json
import subprocess

import attrs

from qat_ladder.bench.case import Case, Group, Setup, Target, python
from qat_ladder.bench.groups.training import OURS, steps
from qat_ladder.bench.runs import Runs

_OVERHEAD, _IMGSZ, _BATCH, _WORKERS, _STEPS = 1.05, 640, 16, 4, 24
_ASK = """\
import json, torch
found = torch.cuda.is_available()
print(json.dumps(f"{torch.cuda.get_device_name()}, torch {torch.__version__}" if found else ""))
"""


def _device() -> str:
    """Name of the first CUDA device; nothing where torch finds none, or is not there."""
    done = subprocess.run(python("-c", _ASK), check=False, capture_output=True, text=True)
    return str(json.loads(done.stdout)) if done.returncode == 0 else ""


def _cases(setup: Setup) -> list[Case]:
    device = _device()
    runs = Runs.of(setup, "gpu", imgsz=f"{_IMGSZ}", batch=f"{_BATCH}", workers=f"{_WORKERS}", device='"0"', amp="true")
    if not device:
        runs = attrs.evolve(runs, missing="no CUDA device")
    return [
        Case(
            name="step",
            title="One training step under AMP, 4-bit weights over floating point",
            about=f"{device or 'No CUDA device here'}. YOLOv10n, {_IMGSZ} px, batch {_BATCH}, automatic mixed "
            f"precision, up to {_WORKERS} processes that load images ahead of it: the median of {_STEPS} steps of "
            "COCO128 as a run makes them, the device synchronized after each. Images are handed over in shared memory, "
            "0.3 GB at most (`docker run --shm-size`). The floor of the quantizer's own work is six passes over 2.8 "
            "million weights, 22 MB read and written each: 0.13 GB, 0.04 ms at 3.35 TB/s, the rate that an H100's data "
            "sheet names; what is left is starting kernels.",
            reference="FP32",
            rounds=3,
            contestants=steps(runs, count=_STEPS),
            targets=tuple(Target(contestant=name, to="FP32", at_most=_OVERHEAD) for name in OURS),
        )
    ]


GROUP = Group(name="gpu", title="Training on a GPU", about="Single steps at 640 px under AMP.", cases=_cases)
