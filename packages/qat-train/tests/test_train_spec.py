"""run.toml: exact types and ranges, all faults at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qat_train.errors import SpecError
from qat_train.spec import EmaKey, read_spec

GOOD = """
[run]
run_id = "a"
trajectory_id = "a"
seed = 0
[model]
variant = "yolo10n"
checkpoint = "weights/n.pt"
[data]
dataset = "../data/dataset.json"
[training]
epochs = 3
imgsz = 64
batch = 8
lr0 = 2e-4
lrf = 0.1
[references]
directory = "refs"
"""


def read(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text)
    return read_spec(path)


def test_paths_are_taken_from_the_folder_of_the_file(tmp_path):
    spec = read(tmp_path, GOOD)
    assert spec.model.checkpoint == str(tmp_path / "weights/n.pt")
    assert spec.data.dataset == str(tmp_path / "../data/dataset.json")
    assert spec.references.directory == str(tmp_path / "refs")
    assert (spec.quantization.bits, spec.quantization.init, spec.ema.decay) == (4, "mse", "auto")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("epochs = 3", "epochs = 1.9", "training.epochs: expected int, found float 1.9"),
        ("epochs = 3", 'epochs = "7"', "training.epochs: expected int, found str '7'"),
        ("epochs = 3", "epochs = true", "training.epochs: expected int, found bool True"),
        ("epochs = 3", "epochs = 0", "'epochs' must be >= 1: 0"),
        ("epochs = 3", "epochz = 3", "training: unknown field 'epochz'"),
        ("imgsz = 64", "imgsz = 70", "imgsz must be a multiple of 32, found 70"),
        ("lr0 = 2e-4", "lr0 = inf", "training.lr0: expected a finite number, found float inf"),
        ("lr0 = 2e-4", "lr0 = 0.0", "lr0 must lie in (0, 1], found 0.0"),
        ("[references]", "[quantization]\nbits = 9\n[references]", "bits must lie in [2, 8]"),
        ("[references]", "[ema]\ndecay = 1.0\n[references]", "decay must be 'auto' or lie in (0, 1), found 1.0"),
        ("[references]", "[ema]\nenabled = false\n[references]", "run.series names 'ema' while ema.enabled is false"),
        ("[run]", "[run", "line 2"),
    ],
)
def test_wrong_values_are_refused_by_name(tmp_path, old, new, expected):
    with pytest.raises(SpecError) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert expected in str(caught.value)
    assert "run.toml" in str(caught.value)


def test_all_faults_are_reported_at_once(tmp_path):
    with pytest.raises(SpecError) as caught:
        read(tmp_path, GOOD.replace("epochs = 3", "epochs = 1.5").replace("seed = 0", 'seed = "0"'))
    assert "training.epochs" in str(caught.value)
    assert "run.seed" in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"absent\.toml: No such file or directory$"):
        read_spec(tmp_path / "absent.toml")


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_every_decay_inside_the_unit_interval_is_accepted(decay):
    assert EmaKey(decay=decay).decay == decay
