"""Files that a killed process never came to rename do not pile up in a run root."""

import os

import pytest

from qat_ladder.layout import Root
from qat_ladder.litter import clear
from qat_ladder.locking import held


def grown_old(path):
    """An hour ago its writer was killed."""
    about = path.lstat()
    os.utime(path, (about.st_atime - 3600, about.st_mtime - 3600), follow_symlinks=False)


@pytest.mark.fault("extra-killed", "what a killed process left half written is cleared away", how="real")
def test_half_written_files_are_cleared_when_a_root_is_held_and_nothing_else(tmp_path):
    root = Root(tmp_path / "root")
    litter = [
        "references/.fp32.json.ab12cd34.tmp",
        "trajectories/n/state/.epoch00002-0.safetensors.x_1y2z3w.tmp",
        "yolo10n/ema/seed0/export/.model.onnx.01234567.tmp",
        ".ladder.json.q_______.tmp",
    ]
    fresh = ["yolo10n/ema/seed1/export/.model.onnx.01234567.tmp", ".comparison.json.abcdefgh.tmp"]
    of_others = [
        "other/.ladder.json.q_______.tmp",  # a root below this one
        "other/.lock",
        "trajectories/other/.lock",
        "trajectories/other/state/.epoch00002-0.safetensors.x_1y2z3w.tmp",
        ".cache.tmp/file",
        ".Trash.tmp",
        "trajectories/n/.notes.UPPERCAS.tmp",
    ]
    kept = ["ladder.json", "trajectories/n/state/epoch00001-0.safetensors", "notes.tmp", "data/abc/.mine.abcdefgh.tmp"]
    for name in (*litter, *fresh, *of_others, *kept, "data/..incoming.abcdefgh.tmp/train.txt"):
        (root.path / name).parent.mkdir(parents=True, exist_ok=True)
        (root.path / name).write_text("{}")
    for path in root.path.rglob("*"):
        if path.relative_to(root.path).as_posix() not in fresh:
            grown_old(path)
    with held(root):
        assert not [name for name in (*litter, "data/..incoming.abcdefgh.tmp") if (root.path / name).exists()]
        assert [name for name in (*fresh, *of_others, *kept) if not (root.path / name).exists()] == []


def test_a_link_to_elsewhere_is_removed_and_not_followed(tmp_path):
    root, elsewhere = Root(tmp_path / "root"), tmp_path / "elsewhere"
    (elsewhere / "sub").mkdir(parents=True)
    (elsewhere / ".mine.abcdefgh.tmp").write_text("mine")
    grown_old(elsewhere / ".mine.abcdefgh.tmp")
    root.path.mkdir()
    (root.path / ".link.abcdefgh.tmp").symlink_to(elsewhere)
    grown_old(root.path / ".link.abcdefgh.tmp")
    (root.path / "trajectories").symlink_to(elsewhere)
    assert clear(root) == 1
    assert (elsewhere / ".mine.abcdefgh.tmp").read_text() == "mine"
    assert (root.path / "trajectories").is_symlink()
