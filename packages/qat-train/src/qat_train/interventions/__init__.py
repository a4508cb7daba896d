"""What changes training itself: one module a name, each with a `build` that makes one `Intervention`.

`[interventions] name = strength` of a specification switches one on. A new one is a module here, found by its name.
"""

import importlib
from collections.abc import Mapping

from torch import nn

from qat_train.interventions.base import Intervention
from qat_train.interventions.teacher import Teacher
from qat_train.oscillation import Tracker

__all__ = ["Intervention", "build"]


def build(
    strengths: Mapping[str, float], *, model: nn.Module, tracker: Tracker, teacher: nn.Module | None
) -> dict[str, Intervention]:
    """Interventions by name, in the order of their names.

    Args:
        strengths: of the specification, whose names were checked there.
        model: the quantized model in training.
        tracker: follows its codes.
        teacher: the floating-point starting model in evaluation mode, where one is kept.
    """
    made: dict[str, Intervention] = {}
    asked = None if teacher is None else Teacher(teacher)
    for name in sorted(strengths):
        module = importlib.import_module(f"{__name__}.{name}")
        made[name] = module.build(model=model, tracker=tracker, teacher=asked, strength=strengths[name])
    return made
