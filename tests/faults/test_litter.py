"""Files that a killed process never came to rename do not pile up in a run root."""

import pytest

from qat_ladder.layout import Root
from qat_ladder.litter import clear
from qat_ladder.locking import held


@pytest.mark.fault("extra-killed", "what a killed process left half written is cleared away", how="real")
def test_half_written_files_are_cleared_when_a_root_is_held_and_nothing_else(tmp_path):
    root = Root(tmp_path / "root")
    litter = [
        "gate/.gate.json.ab12.tmp",
        "trajectories/n/state/.epoch00002-0.safetensors.x_1.tmp",
        ".ladder.json.q.tmp",
    ]
    kept = ["ladder.json", "trajectories/n/state/epoch00001-0.safetensors", "notes.tmp", "data/abc/.mine.tmp"]
    for name in (*litter, *kept, "data/..incoming.ab.tmp/train.txt"):
        (root.path / name).parent.mkdir(parents=True, exist_ok=True)
        (root.path / name).write_text("{}")
    with held(root):
        assert not [name for name in (*litter, "data/..incoming.ab.tmp") if (root.path / name).exists()]
        assert all((root.path / name).exists() for name in kept)


def test_a_link_to_elsewhere_is_removed_and_not_followed(tmp_path):
    root, elsewhere = Root(tmp_path / "root"), tmp_path / "elsewhere"
    (elsewhere / "sub").mkdir(parents=True)
    (elsewhere / ".mine.tmp").write_text("mine")
    root.path.mkdir()
    (root.path / ".link.tmp").symlink_to(elsewhere)
    (root.path / "linked").symlink_to(elsewhere)
    assert clear(root) == 1
    assert (elsewhere / ".mine.tmp").read_text() == "mine"
    assert (root.path / "linked").is_symlink()
