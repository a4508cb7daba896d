"""Distillation of a head's inputs against its definition, on a network whose head takes a list of maps."""

import copy

import pytest
import torch
from torch import nn

from qat_train.interventions.distillation import Distillation
from qat_train.interventions.teacher import Teacher


class Head(nn.Module):
    """Like a YOLO head: takes the maps as a list, and may put its own tensors into that list."""

    def __init__(self, *, overwrites=False):
        super().__init__()
        self.overwrites = overwrites

    def forward(self, maps):
        out = sum(x.mean() for x in maps)
        if self.overwrites:
            for i in range(len(maps)):
                maps[i] = maps[i] * 100
        return out


class Network(nn.Module):
    def __init__(self, *, seed=0, overwrites=False):
        super().__init__()
        torch.manual_seed(seed)
        self.model = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 6, 3, stride=2, padding=1),
            nn.Conv2d(6, 2, 3, stride=2, padding=1),
            Head(overwrites=overwrites),
        )

    def forward(self, x):
        first = self.model[2](torch.relu(self.model[1](self.model[0](x))))
        return self.model[-1]([first, self.model[3](first)])


def maps_of(network, x):
    """The head's inputs, by the layers themselves."""
    first = network.model[2](torch.relu(network.model[1](network.model[0](x))))
    return [first, network.model[3](first)]


def pair(*, overwrites=False):
    """(student in training, teacher in evaluation mode with other weights and seasoned statistics)."""
    teacher = Network(seed=1, overwrites=overwrites)
    teacher.train()
    with torch.no_grad():
        teacher(torch.randn(8, 3, 8, 8) + 1)
    return Network(seed=0, overwrites=overwrites).train(), teacher.eval()


def images(seed=0, count=2):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def expected_loss(student, teacher, x):
    """In float64, the student in training mode; returns (value, the student's double)."""
    student, teacher = copy.deepcopy(student).double().train(), copy.deepcopy(teacher).double().eval()
    with torch.no_grad():
        targets = maps_of(teacher, x.double())
    found = maps_of(student, x.double())
    terms = [(a - b).square().mean() / b.square().mean() for a, b in zip(found, targets, strict=True)]
    return sum(terms) / len(terms), student


@pytest.mark.parametrize("overwrites", [False, True])
@pytest.mark.parametrize("strength", [1.0, 0.25])
@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_value_and_gradients_equal_the_definition(overwrites, strength, progress):
    student, teacher = pair(overwrites=overwrites)
    x = images()
    expected, double = expected_loss(student, teacher, x)
    (strength * expected).backward()
    intervention = Distillation(student, strength, Teacher(teacher))
    student(x)
    found = intervention.loss(x, progress)
    found.backward()
    assert found.shape == ()
    assert found.item() == pytest.approx(strength * expected.item(), rel=1e-5)
    for (name, parameter), wanted in zip(student.named_parameters(), double.parameters(), strict=True):
        atol = 1e-5 * wanted.grad.abs().max().item() + 1e-6  # a bias before a norm has none
        assert torch.allclose(parameter.grad.double(), wanted.grad, rtol=1e-4, atol=atol), name


def test_a_student_like_its_teacher_pays_nothing():
    _, teacher = pair()
    student = copy.deepcopy(teacher).eval()
    intervention = Distillation(student, 1.0, Teacher(teacher))
    student(images())
    assert intervention.loss(images(), 0.5).item() == 0


def test_maps_in_another_unit_cost_the_same():
    """The last convolution's output ten times as large, in both: only its map changes, and that is divided out."""
    values = []
    for unit in (1.0, 10.0):
        student, teacher = pair()
        with torch.no_grad():
            for network in (student, teacher):
                network.model[3].weight.mul_(unit)
                network.model[3].bias.mul_(unit)
        intervention = Distillation(student, 1.0, Teacher(teacher))
        student(images())
        values.append(intervention.loss(images(), 0.5).item())
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_the_teacher_learns_nothing_and_stays_in_evaluation_mode():
    student, teacher = pair()
    before = copy.deepcopy(teacher.state_dict())
    intervention = Distillation(student, 1.0, Teacher(teacher))
    student(images())
    intervention.loss(images(), 0.5).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(teacher.state_dict()[name], value) for name, value in before.items())
    assert not any(module.training for module in teacher.modules())


def test_the_student_passes_once_a_step():
    """A second pass would move its batch norms twice."""
    student, teacher = pair()
    intervention = Distillation(student, 1.0, Teacher(teacher))
    for step in range(3):
        student(images(step))
        before = copy.deepcopy(student.state_dict())
        intervention.loss(images(step), 0.5)
        assert all(torch.equal(student.state_dict()[name], value) for name, value in before.items())
        assert student.training
    assert student.model[1].num_batches_tracked.item() == 3


def test_each_step_takes_the_maps_of_its_own_images():
    student, teacher = pair()
    intervention = Distillation(student, 1.0, Teacher(teacher))
    for step in range(3):
        x = images(step, count=2 + step)
        expected, _ = expected_loss(student, teacher, x)
        student.eval()
        with torch.no_grad():
            student(images(99))  # an evaluation in between
        student.train()
        student(x)
        assert intervention.loss(x, 0.5).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_student_keeps_its_parameters_and_its_output():
    student, teacher = pair()
    student.eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    out = student(images()).item()
    Distillation(student, 1.0, Teacher(teacher))
    assert set(student.state_dict()) == set(before)
    assert [name for name, _ in student.named_parameters()] == [name for name, _ in Network().named_parameters()]
    assert student(images()).item() == out


def test_a_student_can_be_copied_between_steps():
    """Averages and checkpoints copy the model between steps."""
    student, teacher = pair()
    intervention = Distillation(student, 1.0, Teacher(teacher))
    student(images())
    expected = intervention.loss(images(), 0.5).item()
    copied = copy.deepcopy(student)
    student(images())
    copied.eval()
    with torch.no_grad():
        copied(images(5))  # must not be taken for the student's pass
    assert intervention.loss(images(), 0.5).item() == pytest.approx(expected, rel=1e-5)
