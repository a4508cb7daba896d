"""Pictures of two halves: sizes, titles, frames, and the same bytes every time."""

import io

import numpy as np
import pytest
from PIL import Image

from qat_train.export.drawing import COLOURS, GAP, Half, draw_row, heading, jpeg, png, stack
from qat_train.export.matching import FoundObject

NAMES = ["cat", "dog"]


def grey(height, width):
    return np.full((height, width, 3), 128, dtype=np.uint8)


def half(*boxes, alone=(), title="INT4: 1 object"):
    objects = [FoundObject(name=name, score=0.5, box=tuple(map(float, box))) for name, *box in boxes]
    return Half(title=title, objects=objects, alone=alone)


def row(*halves, pixels=None, width=400, height=400):
    return draw_row(grey(100, 200) if pixels is None else pixels, halves, NAMES, width=width, height=height)


def pixels_of(image, colour):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return (np.asarray(image) == wanted).all(axis=-1)


def test_a_title_says_model_count_threshold_and_what_the_other_side_lacks():
    assert heading("FP32 a.pt", 11, 0.25) == "FP32 a.pt: 11 objects from score 0.25 on"
    assert heading("INT4", 1, 0.5, 1) == "INT4: 1 object from score 0.5 on, 1 of them only here"


def test_halves_stand_side_by_side_and_rows_under_each_other():
    single, both = row(half()), row(half(), half())
    assert (single.width, both.width) == (400, 800 + GAP)
    assert both.height == single.height > 200  # a bar for the title
    assert stack([both, both]).size == (both.width, 2 * both.height + GAP)


def test_an_image_keeps_its_shape_within_the_bounds():
    tall = row(half(), pixels=grey(400, 100), width=200, height=200)
    page = np.asarray(tall)[-200:]
    assert (page == 128).all(axis=-1).sum() == 200 * 50


def test_colours_are_red_green_blue_again():
    blue = grey(40, 40)
    blue[:] = (255, 0, 0)  # as OpenCV has it
    assert row(half(), pixels=blue).getpixel((200, 300)) == (0, 0, 255)


def test_an_object_is_framed_in_the_colour_of_its_class_where_it_lies():
    drawn = row(half(), half(("dog", 50, 50, 150, 90)))
    found = pixels_of(drawn, COLOURS[1])
    assert not pixels_of(drawn, COLOURS[0]).any()
    bar = drawn.height - 200
    ys, xs = np.nonzero(found)
    left = 400 + GAP
    assert (xs.min(), xs.max(), ys.max()) == (left + 100, left + 300, bar + 180)
    assert found[bar + 140, left + 100]
    assert not found[bar + 140, left + 200]  # a frame, no area


def test_an_object_that_the_other_side_lacks_has_a_frame_of_double_width():
    box = ("cat", 50, 50, 150, 90)
    line = [pixels_of(row(half(box, alone=alone)), COLOURS[0])[-60, :].sum() for alone in ((), {0})]
    assert line[0] > 0
    assert line[1] == 2 * line[0]


@pytest.mark.parametrize("box", [(0, 0, 200, 100), (199, 99, 200, 100), (150, 0, 200, 30), (0, 0, 4, 4)])
def test_labels_stay_inside_the_image(box):
    drawn = row(half(("cat", *box)), half())
    found = pixels_of(drawn, COLOURS[0])
    bar = drawn.height - 200
    assert found.any()
    assert not found[:bar].any()
    assert not found[:, 400:].any()


def test_a_long_title_is_made_smaller():
    drawn = row(half(title="FP32 " + "w" * 40), half(title="."))
    assert (np.asarray(drawn)[:10, 398 : 400 + GAP] == 255).all()


def test_names_with_line_breaks_are_drawn_in_one_line():
    found = FoundObject(name="do\ng", score=0.5, box=(50.0, 50.0, 150.0, 90.0))
    broken = draw_row(grey(100, 200), [Half(title="INT4\nx", objects=[found])], ["do\ng"], width=400, height=400)
    found = FoundObject(name="do g", score=0.5, box=(50.0, 50.0, 150.0, 90.0))
    whole = draw_row(grey(100, 200), [Half(title="INT4 x", objects=[found])], ["do g"], width=400, height=400)
    assert png(broken) == png(whole)


def test_the_same_objects_give_the_same_bytes():
    made = [row(half(("cat", 50, 50, 150, 90))) for _ in range(2)]
    assert png(made[0]) == png(made[1])
    assert jpeg(made[0], limit=10**6) == jpeg(made[1], limit=10**6)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(made[0])))), np.asarray(made[0]))


def test_a_jpeg_takes_the_best_quality_within_the_limit_and_else_gets_smaller():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))

    def within(limit):
        data = jpeg(noise, limit=limit)
        return len(data), Image.open(io.BytesIO(data)).width

    best, width = within(10**6)
    assert width == 200
    assert 0 < within(best - 1)[0] < best
    assert within(best - 1)[1] == 200
    size, width = within(best // 10)
    assert size <= best // 10
    assert 50 <= width < 200
    assert within(0)[1] == 50  # nothing is small enough
