"""A run root is a folder like any other: it may be moved, and says the same there."""

import json
import signal

import pytest

from .commands import call, ended, invoke, start, until


def told(root):
    """What status, comparison, decision and verification say of a root; its own path apart."""
    found = [
        invoke("ladder.status", "--root", root),
        invoke("gate.m", "--root", root),
        invoke("report", "--root", root),
        call("qat-report", "verify", root),
    ]
    return [(done.code, done.out.replace(str(root), "ROOT")) for done in found]


@pytest.mark.fault(
    "extra-moved-root", "a finished run root is moved: status, report, gate and verification say the same", how="real"
)
def test_a_finished_root_is_moved(planted, tmp_path):
    for variant in ("yolo10n", "yolo10s"):
        for seed in (0, 1):
            planted.run(variant, seed)
    assert planted.decide()[0] == 0
    before = told(planted.folder)
    assert [code for code, _ in before] == [0, 0, 0, 0]
    place = tmp_path / "elsewhere" / "moved root"
    place.parent.mkdir()
    assert told(planted.folder.rename(place)) == before


@pytest.mark.slow
@pytest.mark.fault(
    "extra-moved-root",
    "a run root is moved in the middle of training, drawn data inside: the same call goes on and ends",
    how="real",
)
@pytest.mark.fault("B2-47", "quotes, spaces and emoji in the run root of a real ladder: as any other name", how="real")
@pytest.mark.fault("B2-5", "Ctrl-C in a real training run: exit 130, the finished epochs stand", how="real")
def test_a_root_is_moved_in_the_middle(tmp_path, record_property):
    flags = ("--profile", "tiny", "--methods", "baseline,ema", "--seeds", "0", "--device", "cpu", "--plain")
    root = tmp_path / 'räum "x" 🚀 $(touch pwned)'
    ladder = start("invoke", "ladder.n", *flags, "--root", root)
    until(ladder, "epoch 2/6")
    ladder.send_signal(signal.SIGINT)
    done = ended(ladder)
    assert done.code == 130, done.err
    metrics = "trajectories/yolo10n/shared/seed0/metrics.jsonl"
    begun = (root / metrics).read_text().splitlines()
    assert len(begun) >= 2

    root = root.rename(tmp_path / "moved")
    status = json.loads(invoke("ladder.status", "--root", root, "--json").out)
    assert {cell["state"] for cell in status["cells"]} == {"interrupted"}
    done = ended(start("invoke", "ladder.n", *flags, "--root", root))
    assert done.code == 0, done.err
    whole = (root / metrics).read_text().splitlines()
    assert (whole[: len(begun)], len(whole)) == (begun, 6)
    record_property("losses", sum(line not in whole for line in begun))

    before = told(root)
    root = root.rename(tmp_path / "moved again")
    assert told(root) == before
    done = ended(start("invoke", "ladder.n", *flags, "--resume", "must", "--root", root))
    assert done.code == 0, done.err
    assert (root / metrics).read_text().splitlines() == whole
    assert list(tmp_path.rglob("pwned")) == []
