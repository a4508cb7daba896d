"""What a trainer needs beyond Ultralytics' arguments, and what it hands back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch

from qat_train.averaging import EmaSchedule
from qat_train.evaluator import Evaluator
from qat_train.run import EpochRecord, Event
from qat_train.spec import RunSpec


@attrs.define(kw_only=True)
class RunContext:
    """Of one run."""

    spec: RunSpec
    spec_sha256: str
    evaluator: Evaluator
    quantized_layers: int
    folder: Path
    device: torch.device
    threads: int
    report: Callable[[EpochRecord, int], None]
    scale_parameters: Callable[[Any], list[torch.nn.Parameter]]
    check_images: Callable[[int], None]  # refuses a training loader that left images out
    teacher: Any = None  # the floating-point starting model, for interventions
    records: list[EpochRecord] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)
    seconds: float = 0.0
    ema_schedule: EmaSchedule | None = None
