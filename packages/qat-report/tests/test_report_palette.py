"""Colours of methods, for readers of any vision."""

import itertools
import math
import re
from pathlib import Path

import pytest

import qat_report
from qat_report.finding import read_summaries
from qat_report.grouping import Entry
from qat_report.methods import ORDER
from qat_report.plots import Sheet
from qat_report.plots.svg import METHODS, OTHER

STYLE = (Path(qat_report.__file__).parent / "templates/style.css").read_text(encoding="utf-8")
# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009),
# severity 1.0, on linear RGB.
VISION = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def linear(colour):
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]


def lab(rgb):
    """CIE L*a*b* (D65) of linear RGB."""
    x, y, z = (
        sum(weight * value for weight, value in zip(row, rgb, strict=True)) / white
        for row, white in (
            ((0.4124, 0.3576, 0.1805), 0.95047),
            ((0.2126, 0.7152, 0.0722), 1.0),
            ((0.0193, 0.1192, 0.9505), 1.08883),
        )
    )
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def seen(colour, vision):
    rgb = linear(colour)
    return [min(1, max(0, sum(w * v for w, v in zip(row, rgb, strict=True)))) for row in VISION[vision]]


def palette(theme):
    part = STYLE.partition("@media (prefers-color-scheme: dark)")[0 if theme == "light" else 2]
    first = part.partition("}")[0]
    colours = re.findall(r"--method-\d: (#\w{6})", first)
    return re.search(r"--card: (#\w{6})", first)[1], [*colours, re.search(r"--other: (#\w{6})", first)[1]]


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_of_methods_are_told_apart_by_readers_of_any_vision(theme, vision):
    _, colours = palette(theme)
    assert len(colours) == 7  # six, and the grey of all other methods
    pairs = itertools.combinations([lab(seen(colour, vision)) for colour in colours], 2)
    assert min(math.dist(*pair) for pair in pairs) > 15  # about 2.3 is just noticeable


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_of_methods_stand_out_from_the_page(theme):
    card, colours = palette(theme)
    light = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in map(linear, (card, *colours))]
    ratios = [(max(light[0], one) + 0.05) / (min(light[0], one) + 0.05) for one in light[1:]]
    assert min(ratios) >= 3.0  # WCAG 2.2, 1.4.11


@pytest.fixture
def sheet(ladder, ladder_row, tmp_path):
    """The sheet of methods, each with its trajectory."""

    def make(*methods):
        rows = [ladder_row("good", 0, method=m, trajectory=f"t/{t}", place=t) for m, t in methods]
        root, _ = ladder(*rows, root=tmp_path / str(len(rows)))
        return Sheet.of([Entry(summary=item.summary, path=str(item.path)) for item in read_summaries([root])])

    return make


def test_methods_of_the_ladder_have_the_same_colours_on_every_page(sheet):
    standing = ("baseline", "ema", "ema+qc")
    alone, among = sheet(("ema", "a")), sheet(*((method, "a") for method in ORDER))
    for method in standing:
        assert alone.colours[method] == among.colours[method] == METHODS[standing.index(method)]


def test_no_two_methods_share_a_colour_and_beyond_six_they_are_grey(sheet):
    colours = sheet(*((method, method) for method in ORDER)).colours
    own = [colour for colour in colours.values() if colour != OTHER]
    assert sorted(own) == sorted(METHODS)
    assert len(colours) == len(ORDER)


def test_first_rows_of_other_training_runs_have_colours_before_more_rows_of_one(sheet):
    runs = {"baseline": 0, "bn": 0, "qc": 0, "ema": 0, "learned": 1, "learned+ema": 1, "paper": 2, "zeta": 3}
    found = sheet(*((method, str(run)) for method, run in runs.items()))
    assert {m for m in runs if found.css_class(m) == "ink-other"} == {"bn", "qc", "learned+ema"}
    assert found.tells_apart(["baseline", "learned", "paper", "zeta"])
    assert not found.tells_apart(["bn", "qc"])
