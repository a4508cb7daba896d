"""Soft labels against their definition, anchor by anchor in float64."""

import copy
import math

import pytest
import torch
from torch import nn

from qat_train.interventions import build
from qat_train.interventions.soft_labels import SoftLabels, soft_label_loss
from qat_train.interventions.teacher import Teacher

CLASSES, BINS, ANCHORS = 3, 4, 5


def predictions(seed, batch=2):
    generator = torch.Generator().manual_seed(seed)
    return {
        "scores": 3 * torch.randn(batch, CLASSES, ANCHORS, generator=generator),
        "boxes": 2 * torch.randn(batch, 4 * BINS, ANCHORS, generator=generator),
    }


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def softmax(values):
    exponentials = [math.exp(v) for v in values]
    return [e / sum(exponentials) for e in exponentials]


def definition(student, teacher):
    """The equation of the module, in Python's floats."""
    classes = boxes = weights = 0.0
    for b in range(student["scores"].shape[0]):
        for a in range(ANCHORS):
            ps = [sigmoid(teacher["scores"][b, c, a].item()) for c in range(CLASSES)]
            qs = [sigmoid(student["scores"][b, c, a].item()) for c in range(CLASSES)]
            for p, q in zip(ps, qs, strict=True):
                classes += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
            divergences = []
            for side in range(4):
                bins = range(side * BINS, (side + 1) * BINS)
                t, s = (softmax([x["boxes"][b, k, a].item() for k in bins]) for x in (teacher, student))
                divergences.append(sum(p * math.log(p / q) for p, q in zip(t, s, strict=True)))
            boxes += max(ps) * sum(divergences) / 4
            weights += max(ps)
    return (0.5 * classes + 1.5 * boxes) / max(weights, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_value_is_the_definitions(seed):
    student, teacher = predictions(seed), predictions(seed + 10)
    assert soft_label_loss(student, teacher).item() == pytest.approx(definition(student, teacher), rel=1e-4)


def test_gradients_are_those_of_the_definition_in_float64():
    student = {k: v.double().requires_grad_() for k, v in predictions(0).items()}
    teacher = {k: v.double() for k, v in predictions(1).items()}
    assert torch.autograd.gradcheck(
        lambda scores, boxes: soft_label_loss({"scores": scores, "boxes": boxes}, teacher), tuple(student.values())
    )
    soft_label_loss(student, teacher).backward()
    # The gradient of the class part by hand: (σ(z) - p) · 0.5 / n.
    p = teacher["scores"].sigmoid()
    n = p.amax(dim=1).sum().clamp(min=1)
    assert torch.allclose(student["scores"].grad, 0.5 * (student["scores"].sigmoid() - p) / n)


def test_a_student_like_its_teacher_pays_nothing_and_any_other_pays():
    teacher = predictions(0)
    assert soft_label_loss(copy.deepcopy(teacher), teacher).item() == pytest.approx(0, abs=1e-6)
    assert soft_label_loss(predictions(1), teacher).item() > 0.1


def test_a_teacher_that_sees_nothing_gives_no_weight_to_boxes():
    teacher = predictions(0)
    teacher["scores"] = torch.full_like(teacher["scores"], -60.0)
    student = predictions(1) | {"scores": teacher["scores"].clone()}
    assert soft_label_loss(student, teacher).item() == pytest.approx(0, abs=1e-6)


class Head(nn.Module):
    """Two heads: raw predictions in training, and beside a decoded tensor in evaluation, as YOLOv10's."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.Conv2d(2, CLASSES + 4 * BINS, 1) for name in ("one2many", "one2one")})

    def forward(self, x):
        raw = {}
        for name, layer in self.layers.items():
            scores, boxes = layer(x).flatten(2).split((CLASSES, 4 * BINS), dim=1)
            raw[name] = {"scores": scores, "boxes": boxes}
        return raw if self.training else (x.sum(), raw)


class Detector(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), Head())
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        return self.model(x)


def test_the_term_is_the_strength_times_the_mean_over_heads():
    student, teacher = Detector(0).train(), Detector(1).eval().requires_grad_(False)
    images = torch.rand(2, 3, 4, 4)
    intervention = SoftLabels(student, 0.25, Teacher(teacher))
    own = student(images)
    found = intervention.loss(images, 0.5)
    _, target = teacher(images)
    expected = sum(soft_label_loss(own[name], target[name]) for name in ("one2many", "one2one")) / 2
    assert found.item() == pytest.approx(0.25 * expected.item(), rel=1e-6)
    found.backward()
    assert all(p.grad.abs().sum() > 0 for p in student.parameters())


def test_two_interventions_ask_the_teacher_once_a_batch():
    student, teacher = Detector(0).train(), Detector(1).eval().requires_grad_(False)
    made = build({"soft_labels": 1.0, "distillation": 1.0}, model=student, tracker=None, teacher=teacher)
    for step in range(3):
        images = torch.rand(2, 3, 4, 4)
        student(images)
        assert all(i.loss(images, 0.0) is not None for i in made.values())
        assert teacher.passes == step + 1
