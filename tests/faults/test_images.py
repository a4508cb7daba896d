"""Image files that are missing, broken or other than the annotations say. The user's files are never written."""

import json

import pytest
from PIL import Image

from .coco import tree_hash

HEAD = "error: train: 1 of 4 images cannot be used (--allow-missing N leaves up to N out):\n  "


def refused(coco, tmp_path):
    before = tree_hash(coco.path)
    done = coco.prepare(tmp_path / "out")
    assert (done.code, done.out) == (3, "")
    assert tree_hash(coco.path) == before
    assert not (tmp_path / "out").exists()
    return done.err.removeprefix("train: 4 of 4 images checked\n").removeprefix(HEAD).strip()


def left_out(coco, tmp_path, reason):
    """With --allow-missing the image is left out, counted and named."""
    before = tree_hash(coco.path)
    done = coco.prepare(tmp_path / "out", "--allow-missing", "1", "--json")
    assert done.code == 0, done.err
    train = json.loads(done.out)["train"]
    assert (train["images"], train["left_out"][reason]) == (3, 1)
    assert "000003.jpg" in train["notes"][0]
    assert tree_hash(coco.path) == before


@pytest.mark.fault(
    "B2-29", "listed image missing: exit 3 and its name; --allow-missing N leaves it out, counted", how="real"
)
def test_a_listed_image_that_is_missing(coco, tmp_path):
    coco.image(3).unlink()
    assert refused(coco, tmp_path) == f"{coco.image(3)}: missing"
    left_out(coco, tmp_path, "missing")


def truncated(path):
    path.write_bytes(path.read_bytes()[:-200])


def empty(path):
    path.write_bytes(b"")


def no_image(path):
    path.write_bytes(b"%PDF-1.7 not an image")


@pytest.mark.fault(
    "B2-30", "JPEG truncated or empty, no image at all: exit 3 or left out; the file stays as it is", how="real"
)
@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (truncated, "Truncated File Read"),
        (empty, "no image of a known format, or empty"),
        (no_image, "no image of a known format, or empty"),
    ],
)
def test_an_image_that_cannot_be_read(coco, tmp_path, spoil, text):
    spoil(coco.image(3))
    shown = refused(coco, tmp_path)
    assert shown.startswith(f"{coco.image(3)}: {text}")
    left_out(coco, tmp_path, "broken")


@pytest.mark.fault(
    "B2-30", "a PNG named .jpg is used as what it is; a JPEG without its end is mended in our copy", how="real"
)
def test_wrong_names_and_ends_that_a_reader_would_mend_in_place(coco, tmp_path):
    with Image.open(coco.image(3)) as opened:
        opened.save(coco.image(3), "PNG")
    coco.image(11).write_bytes(coco.image(11).read_bytes() + b"\0\0")
    before = tree_hash(coco.path)
    done = coco.prepare(tmp_path / "out", "--json")
    assert done.code == 0, done.err
    train = json.loads(done.out)["train"]
    assert (train["images"], train["copied"]) == (4, 1)
    assert (tmp_path / "out/images/train/000011.jpg").read_bytes()[-2:] == b"\xff\xd9"
    assert tree_hash(coco.path) == before


@pytest.mark.fault(
    "B2-31", "size in the annotations is not the image's, or not as EXIF turns it: both sizes are said", how="real"
)
def test_a_size_that_differs(coco, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    with Image.open(coco.image(3)) as opened:
        opened.save(coco.image(3), "JPEG", exif=exif)
    assert refused(coco, tmp_path) == f"{coco.image(3)}: the image is 30 x 40, the annotations say 40 x 30"
    left_out(coco, tmp_path, "other_size")
