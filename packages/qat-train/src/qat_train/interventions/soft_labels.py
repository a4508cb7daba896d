"""Soft labels: beside the labels of the data set, the floating-point starting model's own predictions are the target.

Response distillation (Hinton et al., arXiv 1503.02531; of box distributions Zheng et al., LD, arXiv 2102.12252), in the
measure of Ultralytics' loss. Per head, with teacher probabilities p, student logits z, box distributions t and s of the
four sides, and w the teacher's highest class probability at an anchor:

    L = (0.5 · Σ_anchors,classes KL(p || σ(z)) + 1.5 · Σ_anchors w · mean_sides KL(t || s)) / max(Σ_anchors w, 1)

0.5 and 1.5 are Ultralytics' gains of class and distribution loss; the mean over the heads is the term. The temperature
is 1. Every anchor counts, those without an object too: where the teacher sees nothing the student should not either.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from qat_train.interventions.base import Intervention
from qat_train.interventions.teacher import Teacher

CLASS_GAIN, BOX_GAIN = 0.5, 1.5
SIDES = 4


def soft_label_loss(student: dict[str, Tensor], teacher: dict[str, Tensor]) -> Tensor:
    """The loss of one head, a scalar, in fp32 or wider.

    Args:
        student: "scores", logits of shape (B, classes, A), and "boxes", logits of shape (B, 4·bins, A).
        teacher: the same of the teacher; gets no gradient.
    """
    logits, target = student["scores"], teacher["scores"].detach()
    logits, target = (x if x.dtype == torch.float64 else x.float() for x in (logits, target))
    probability = target.sigmoid()
    weight = probability.amax(dim=1)  # (B, A)
    # KL rather than cross entropy: a student like its teacher pays nothing, and the gradient is the same.
    entropy = functional.binary_cross_entropy_with_logits(target, probability, reduction="none")
    classes = (functional.binary_cross_entropy_with_logits(logits, probability, reduction="none") - entropy).sum()

    def log_bins(boxes: Tensor) -> Tensor:
        bins = boxes.to(logits.dtype).reshape(boxes.shape[0], SIDES, -1, boxes.shape[-1])  # (B, 4, bins, A)
        return bins.log_softmax(dim=2)

    wanted = log_bins(teacher["boxes"].detach())
    divergence = functional.kl_div(log_bins(student["boxes"]), wanted, log_target=True, reduction="none").sum(dim=2)
    boxes = (divergence.mean(dim=1) * weight).sum()
    return (CLASS_GAIN * classes + BOX_GAIN * boxes) / weight.sum().clamp(min=1.0)


class SoftLabels(Intervention):
    """Adds strength · mean over heads of `soft_label_loss`."""

    def __init__(self, model: Any, strength: float, teacher: Teacher) -> None:
        self._strength = strength
        self._teacher = teacher
        self._student_heads: list[dict[str, Tensor]] = []
        self._teacher_heads: list[dict[str, Tensor]] = []
        model.model[-1].register_forward_hook(self._see_student)
        teacher.head.register_forward_hook(self._see_teacher)

    def _see_student(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if torch.is_grad_enabled():
            self._student_heads = _heads(output)

    def _see_teacher(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._teacher_heads = _heads(output)

    def loss(self, images: Tensor, progress: float) -> Tensor | None:
        """The term of the batch that the student has just seen."""
        self._teacher.look(images)
        parts = [soft_label_loss(s, t) for s, t in zip(self._student_heads, self._teacher_heads, strict=True)]
        self._student_heads, self._teacher_heads = [], []
        total: Tensor = self._strength * torch.stack(parts).mean()
        return total


def _heads(output: Any) -> list[dict[str, Tensor]]:
    """Raw predictions per head: training gives them alone, evaluation beside the decoded ones."""
    raw = output[1] if isinstance(output, tuple) else output
    return [raw] if "scores" in raw else [raw[name] for name in sorted(raw)]


def build(*, model: nn.Module, teacher: Teacher | None, strength: float, **_: Any) -> SoftLabels:
    """`strength`: weight beside the task's mean loss of an image."""
    assert teacher is not None, "the trainer keeps a teacher for an intervention that needs one"
    return SoftLabels(model, strength, teacher)
