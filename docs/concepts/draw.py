"""The pictures of the concepts: `python docs/concepts/draw.py` writes docs/concepts/figures/*.svg.

Drawn without a plotting library, so that the same code gives the same bytes everywhere. Colours follow what the
reader's system prefers. Oscillation and correction are computed with the functions that training uses.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
import torch
from torch import Tensor, nn

from qat_qc import attach, fold, identity, train
from qat_train.quantizer import codes, fake_quantize, initial_amax, scale_from_amax

FIGURES = Path(__file__).parent / "figures"
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #333 }
  .small { font-size: 11.5px; fill: #666 }
  .axis { stroke: #999; stroke-width: 1 }
  .edge { stroke: #999; stroke-width: 1; stroke-dasharray: 4 4 }
  .a { stroke: #c2571a; fill: none; stroke-width: 1.4 }
  .b { stroke: #00705a; fill: none; stroke-width: 2.2 }
  .dot-a { fill: none; stroke: #c2571a; stroke-width: 1.6 }
  .dot-b { fill: #00705a }
  .box { fill: #f3f5f6; stroke: #78909c; stroke-width: 1.4 }
  .support { fill: none; stroke-dasharray: 5 4 }
  .arrow { stroke: #78909c; stroke-width: 1.6; fill: none; marker-end: url(#head) }
  .head { fill: #78909c }
  .name { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .small { fill: #aaa } .axis, .edge { stroke: #888 }
    .a, .dot-a { stroke: #f08a4b } .b { stroke: #4fc3a1 } .dot-b { fill: #4fc3a1 }
    .box { fill: #2b3137 }
  }
"""


@attrs.define
class Picture:
    """An SVG that is written element by element; sizes in pixels, y down."""

    width: int
    height: int
    title: str
    description: str
    parts: list[str] = attrs.field(factory=list)

    def add(self, tag: str, body: str = "", **attributes: object) -> None:
        """One element; `kind` is its class, underscores in names become hyphens."""
        named = {"class" if name == "kind" else name.replace("_", "-"): value for name, value in attributes.items()}
        text = "".join(
            f' {name}="{value:.2f}"' if isinstance(value, float) else f' {name}="{value}"'
            for name, value in named.items()
        )
        self.parts.append(f"  <{tag}{text}>{body}</{tag}>" if body else f"  <{tag}{text}/>")

    def text(self, x: float, y: float, words: str, *, kind: str = "", anchor: str = "start") -> None:
        """A line of text."""
        self.add("text", words, x=x, y=y, **({"kind": kind} if kind else {}), text_anchor=anchor)

    def line(self, points: Iterable[tuple[float, float]], kind: str) -> None:
        """A line through points."""
        self.add("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), kind=kind)

    def write(self, name: str) -> None:
        """Write figures/NAME.svg."""
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img">',
            f"  <title>{self.title}</title>",
            f"  <desc>{self.description}</desc>",
            f"  <style>{STYLE}</style>",
            '  <defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
            *self.parts,
            "</svg>",
        ]
        FIGURES.mkdir(exist_ok=True)
        (FIGURES / f"{name}.svg").write_text("\n".join(lines) + "\n", encoding="utf-8")


def flow() -> None:
    """Which part writes what for which other part."""
    picture = Picture(
        820,
        400,
        "Data flow of one rung",
        "qat-data prepares images for qat-train; qat-qc corrects its run; qat-report sums up and compares; qat-gate "
        "decides; qat-train exports. Every arrow is a file.",
    )
    boxes = {
        "qat-data": (20, 60, "checked subset"),
        "qat-train": (230, 60, "4-bit training"),
        "qat-qc": (230, 210, "correction"),
        "qat-report": (440, 60, "classes, comparison"),
        "qat-gate": (650, 60, "GO or NO-GO"),
        "4-bit model": (440, 210, "packed, ONNX"),
    }
    for name, (x, y, what) in boxes.items():
        picture.add("rect", x=x, y=y, width=150, height=64, rx=8, kind="box")
        picture.text(x + 75, y + 28, name, kind="name", anchor="middle")
        picture.text(x + 75, y + 48, what, kind="small", anchor="middle")
    arrows: Sequence[tuple[Sequence[tuple[float, float]], float, float, str, str]] = (
        (((170, 92), (229, 92)), 200, 50, "dataset.json", "middle"),
        (((380, 92), (439, 92)), 410, 50, "run.json", "middle"),
        (((590, 92), (649, 92)), 620, 50, "run_summary.json", "middle"),
        (((285, 124), (285, 209)), 277, 172, "run, checkpoint", "end"),
        (((380, 228), (410, 228), (410, 108), (439, 108)), 402, 170, "qc.json", "end"),
        (
            ((355, 274), (355, 300), (515, 300), (515, 275)),
            435,
            318,
            "corrected checkpoint, qat-train export",
            "middle",
        ),
        (((725, 124), (725, 160), (515, 160), (515, 125)), 620, 178, "gate.json", "middle"),
    )
    for points, left, top, label, anchor in arrows:
        picture.line(points, "arrow")
        picture.text(left, top, label, kind="small", anchor=anchor)
    picture.add("rect", x=20, y=340, width=780, height=44, rx=8, kind="box support")
    picture.text(
        410, 367, "qat-ladder calls them as programs · qat-artifacts reads and writes every file", anchor="middle"
    )
    picture.write("flow")


def oscillation() -> None:
    """One weight at a rounding boundary, under the quantizer and its gradient, and its average."""
    torch.manual_seed(0)
    scale, bits, wanted, steps = torch.tensor(1.0), 4, 2.3, 400
    weight = torch.tensor([2.1], requires_grad=True)
    averaged, velocity = weight.detach().clone(), torch.zeros(1)
    latent, average, raw_codes, average_codes = [], [], [], []
    for _ in range(steps):
        loss = (fake_quantize(weight, scale, bits) - wanted - 0.2 * torch.randn(1)).square().sum() / 2
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            velocity = 0.9 * velocity + gradient
            weight -= 0.004 * velocity
            averaged.lerp_(weight, 1 / 60)  # a window of 60 steps
        latent.append(weight.item())
        average.append(averaged.item())
        raw_codes.append(int(codes(weight.detach(), scale, bits)))
        average_codes.append(int(codes(averaged, scale, bits)))
    picture = Picture(
        820,
        400,
        "A weight that oscillates around a rounding threshold",
        f"In {steps} steps the weight's code switches {_switches(raw_codes)} times, the code of its average "
        f"{_switches(average_codes)} times.",
    )
    left, right = 70, 800

    def across(step: int) -> float:
        return left + (right - left) * step / (steps - 1)

    def up(value: float) -> float:
        return 220 - (value - 2.05) * 300

    picture.line(((left, up(2.5)), (right, up(2.5))), "edge")
    picture.text(left - 8, up(2.5) + 4, "2.5", kind="small", anchor="end")
    picture.text(left - 8, up(wanted) + 4, "2.3", kind="small", anchor="end")
    picture.line(((left, up(wanted)), (right, up(wanted))), "axis")
    picture.text(right, up(wanted) + 18, "value with the least loss", kind="small", anchor="end")
    picture.text(left, 22, "weight / scale, threshold 2.5, and its average over 60 steps")
    picture.line([(across(i), up(value)) for i, value in enumerate(latent)], "a")
    picture.line([(across(i), up(value)) for i, value in enumerate(average)], "b")
    for values, kind, top, words in ((raw_codes, "a", 280, "weight"), (average_codes, "b", 345, "average")):
        for code, y in ((3, top), (2, top + 34)):
            picture.text(left - 8, y + 4, str(code), kind="small", anchor="end")
        corners = [(across(i), top + 34.0 * (3 - value)) for i, value in enumerate(values)]
        stairs = [corners[0]]
        for before, after in itertools.pairwise(corners):
            stairs += [(after[0], before[1]), after]
        picture.line(stairs, kind)
        picture.text(left, top - 10, f"code of the {words}: {_switches(values)} switches in {steps} steps")
    picture.write("oscillation")


def _switches(values: list[int]) -> int:
    return sum(a != b for a, b in itertools.pairwise(values))


@attrs.frozen
class _Layer:
    name: str
    batch_norm: str | None


class _Net(nn.Module):
    """Two convolutions with norms; the first is quantized to 3 bits where `quantized` is on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        nn.init.uniform_(self.bn1.weight, 0.5, 1.5)
        nn.init.normal_(self.bn1.bias, 0.3, 0.3)

    def normed(self, images: Tensor) -> Tensor:
        """Output of the first convolution after its norm, shape (N, 16, H, W)."""
        found: Tensor = self.bn1(self.conv1(images))
        return found

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.bn2(self.conv2(torch.relu(self.normed(images))))
        return found


class _Grid:
    """The codes of the network's first convolution, whose weight is on a 3-bit grid already."""

    def __init__(self, model: _Net, scale: Tensor) -> None:
        self.model, self.scale = model, scale

    def is_per_channel(self, name: str) -> bool:
        return name == "conv1"

    def get_scale(self, name: str) -> Tensor:
        return self.scale if name == "conv1" else torch.empty(0)

    def set_scale(self, name: str, scale: Tensor) -> None:
        raise AssertionError(f"{name} has a norm, which takes the correction in; {scale.shape}")

    def codes(self, name: str) -> Tensor:
        weight = self.model.get_parameter(f"{name}.weight").detach()
        return codes(weight, self.scale, 3).to(torch.int8)


def correction() -> None:
    """Mean and spread of a quantized layer's channels beside floating point, before and after the correction."""
    torch.manual_seed(0)
    model = _Net()
    images = torch.randn(256, 3, 12, 12).cumsum(-1).cumsum(-2).div(12).sigmoid()  # smooth and in [0, 1], as images are
    with torch.no_grad():
        model.train()
        for _ in range(100):
            model(images)  # running statistics of the floating-point weights
    model.eval()
    with torch.no_grad():
        target, float_normed = model(images), model.normed(images)
        weight = model.conv1.weight
        scale = scale_from_amax(initial_amax(weight, 3, init="mse", per_channel=True), 3)
        weight.copy_(codes(weight, scale, 3) * scale)
        before = model.normed(images)
    layers = (_Layer("conv1", "bn1"),)
    found = identity(model, layers)

    def batches(seed: int) -> Iterable[tuple[Tensor, list[str]]]:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        for part in torch.split(order, 4):
            yield part, [str(i) for i in part.tolist()]

    def loss(part: Tensor) -> Tensor:
        error: Tensor = model(images[part]) - target[part]
        return error.square().mean()

    train(model, found, batches, loss, images=len(images), lr=1e-2)
    with torch.no_grad(), attach(model, found):
        corrected = model(images)
    fold(model, found, _Grid(model, scale))
    with torch.no_grad():
        after = model.normed(images)
        torch.testing.assert_close(model(images), corrected, rtol=1e-4, atol=1e-4)
    _draw_correction(_error(before, float_normed), _error(after, float_normed))


def _error(found: Tensor, wanted: Tensor) -> tuple[list[float], list[float]]:
    """By channel: difference of the means in standard deviations of the right one, and ratio of the deviations."""
    axes = (0, 2, 3)
    spread = wanted.std(axes)
    shift = (found.mean(axes) - wanted.mean(axes)) / spread
    return shift.tolist(), (found.std(axes) / spread).tolist()


def _draw_correction(before: tuple[list[float], list[float]], after: tuple[list[float], list[float]]) -> None:
    def mean(values: Iterable[float]) -> float:
        values = [abs(value) for value in values]
        return math.fsum(values) / len(values)

    words = (
        f"shift of the mean, in standard deviations: {mean(before[0]):.3f} on average before, "
        f"{mean(after[0]):.3f} after",
        f"standard deviation, as a ratio: off by {mean(v - 1 for v in before[1]):.3f} before, "
        f"{mean(v - 1 for v in after[1]):.3f} after",
    )
    picture = Picture(820, 420, "What a correction does to the channels of a 3-bit layer", "; ".join(words))
    left, right = 70, 800
    for panel, (words_of, right_value) in enumerate(zip(words, (0.0, 1.0), strict=True)):
        values = (before[panel], after[panel])
        reach = 1.1 * max(abs(v - right_value) for row in values for v in row)
        middle = 105 + 200 * panel
        picture.text(left, middle - 82, words_of)
        picture.line(((left, middle), (right, middle)), "edge")
        for value in (right_value - reach, right_value, right_value + reach):
            y = middle - 65 * (value - right_value) / reach
            picture.text(left - 8, y + 4, f"{value:.2f}".replace("-0.00", "0.00"), kind="small", anchor="end")
        for row, kind, radius in ((values[0], "dot-a", 5), (values[1], "dot-b", 4)):
            for channel, value in enumerate(row):
                x = left + 24 + (right - left - 48) * channel / (len(row) - 1)
                picture.add("circle", cx=x, cy=middle - 65 * (value - right_value) / reach, r=radius, kind=kind)
    picture.add("circle", cx=left + 6, cy=404, r=5, kind="dot-a")
    picture.text(left + 18, 408, "quantized", kind="small")
    picture.add("circle", cx=left + 96, cy=404, r=4, kind="dot-b")
    picture.text(left + 108, 408, "corrected, folded into batch norm, codes unchanged", kind="small")
    picture.text(right, 408, "16 channels; dashed: as in floating point", kind="small", anchor="end")
    picture.write("correction")


if __name__ == "__main__":
    flow()
    oscillation()
    correction()
