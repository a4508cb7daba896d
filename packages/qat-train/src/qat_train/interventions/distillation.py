"""Distillation: the quantized model's feature maps follow those of the floating-point model it started from.

Squared error between the maps that enter the detection head, as in NVIDIA's yolov7_qat ("supervision" of every layer's
output); each level is divided by its teacher's mean square, so that no level outweighs another. That choice is ours.
"""

from typing import Any

import torch
from torch import Tensor, nn

from qat_train.interventions.base import Intervention
from qat_train.interventions.teacher import Teacher


class Distillation(Intervention):
    """Adds strength · mean over levels of MSE(student, teacher) / mean(teacher²)."""

    def __init__(self, model: Any, strength: float, teacher: Teacher) -> None:
        self._strength = strength
        self._teacher = teacher
        self._student_maps: list[Tensor] = []
        self._teacher_maps: list[Tensor] = []
        model.model[-1].register_forward_pre_hook(self._see_student)
        teacher.head.register_forward_pre_hook(self._see_teacher)

    def _see_student(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if torch.is_grad_enabled():
            self._student_maps = list(inputs[0])

    def _see_teacher(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._teacher_maps = list(inputs[0])

    def loss(self, images: Tensor, progress: float) -> Tensor | None:
        """The term of the batch that the student has just seen."""
        self._teacher.look(images)
        parts = [
            (student.float() - teacher.float()).square().mean() / teacher.float().square().mean()
            for student, teacher in zip(self._student_maps, self._teacher_maps, strict=True)
        ]
        self._student_maps, self._teacher_maps = [], []
        total: Tensor = self._strength * torch.stack(parts).mean()
        return total


def build(*, model: nn.Module, teacher: Teacher | None, strength: float, **_: Any) -> Distillation:
    """`strength`: weight beside the task's mean loss of an image."""
    assert teacher is not None, "the trainer keeps a teacher for an intervention that needs one"
    return Distillation(model, strength, teacher)
