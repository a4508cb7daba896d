"""One run root, one ladder: real processes, real signals; the trainer is a stand-in that only waits."""

import json
import os
import platform
import re
import signal

import pytest

from .commands import appears, ended, gone, invoke, start, until

FIRST = "epoch 1/6"


@pytest.mark.fault(
    "B2-12", "two processes on one root: exit 5, process, host, start and command of the first", how="real"
)
@pytest.mark.fault(
    "B2-5", "Ctrl-C once: no further run is begun, the trainer is asked to end, no orphan, exit 130", how="real"
)
def test_a_second_ladder_and_one_ctrl_c(stand_in):
    first = stand_in.start("waits")
    until(first, FIRST)
    second = invoke(*stand_in.flags)
    assert (second.code, second.out) == (5, "")
    about = rf"process {first.pid} on {platform.node()}, since [-\dT:]+\+00:00: invoke ladder\.n --profile tiny .*"
    assert re.fullmatch(
        rf"error: {stand_in.root}: another ladder is at work here, {about}; wait for it, or choose --root runs/NAME\n",
        second.err,
    )
    status = invoke("ladder.status", "--root", stand_in.root)
    assert status.code == 0
    assert f"another ladder is at work here, process {first.pid}" in status.out

    trainer = stand_in.trainer(first)
    first.send_signal(signal.SIGINT)
    assert ended(first).code == 130
    assert gone(trainer)
    assert (stand_in.run_folder() / "asked").exists()
    assert not stand_in.run_folder(seed=1).exists()
    assert not (stand_in.root / ".lock.json").exists()


@pytest.mark.fault("B2-5", "Ctrl-C twice: a trainer that will not end is killed, exit 130", how="real")
def test_ctrl_c_twice(stand_in):
    ladder = stand_in.start("stubborn")
    until(ladder, FIRST)
    trainer = stand_in.trainer(ladder)
    ladder.send_signal(signal.SIGINT)
    appears(ladder, stand_in.run_folder() / "asked")
    assert ladder.poll() is None
    ladder.send_signal(signal.SIGINT)
    assert ended(ladder).code == 130
    assert gone(trainer)


@pytest.mark.fault("B2-6", "the ladder is killed: its trainer dies with it, never two on one run", how="real")
@pytest.mark.fault("B2-13", "lock of a killed ladder: taken over with a line that says so", how="real")
@pytest.mark.fault("B2-4", "SIGTERM to a ladder: the trainer is asked to end, exit 143", how="real")
def test_a_ladder_that_is_killed(stand_in, record_property):
    first = stand_in.start("waits")
    until(first, FIRST)
    trainer = stand_in.trainer(first)
    first.kill()
    ended(first)
    assert gone(trainer)
    record_property("kills", 1)

    (stand_in.run_folder() / "pid").unlink()
    second = stand_in.start("waits")
    shown = until(second, FIRST)
    host = platform.node()
    assert re.search(
        rf"{stand_in.root}: taken over from process {first.pid} on {host}, since .*, which was killed\n", shown
    )
    trainer = stand_in.trainer(second)
    second.terminate()
    assert ended(second).code == 143
    assert gone(trainer)


@pytest.fixture
def left_behind(tmp_path):
    """Write what a ladder that is gone left in its root; returns the root and its note."""

    def write(host):
        root = tmp_path / "runs"
        root.mkdir()
        about = {"pid": os.getpid(), "host": host, "began": "2026-01-01T00:00:00+00:00", "command": "invoke ladder.n"}
        (root / ".lock.json").write_text(json.dumps(about))
        return root, root / ".lock.json"

    return write


def call_without_data(root, tmp_path):
    return invoke("ladder.n", "--root", root, "--coco-root", tmp_path / "none", "--profile", "tiny")


@pytest.mark.fault(
    "B2-13", "stale note whose process number another program has now: taken over, the lock is the kernel's", how="real"
)
def test_a_process_number_that_was_given_again(left_behind, tmp_path):
    root, note = left_behind(platform.node())
    done = call_without_data(root, tmp_path)
    assert done.code == 3  # it went on, to the data that are not there
    text = f"{root}: taken over from process {os.getpid()} on {platform.node()}, since 2026-01-01T00:00:00+00:00, "
    assert done.err.startswith(text)
    assert not note.exists()


@pytest.mark.fault(
    "B2-14",
    "note of another host, however old: exit 5, never broken by age; a person removes the named file",
    how="simulated: a note with another host's name, the lock free as on NFS without locks",
)
def test_a_lock_of_another_host(left_behind, tmp_path):
    root, note = left_behind("node17")
    os.utime(note, (0, 0))
    before = note.read_bytes()
    done = call_without_data(root, tmp_path)
    assert (done.code, done.out) == (5, "")
    assert done.err == (
        f"error: {root}: process {os.getpid()} on node17, since 2026-01-01T00:00:00+00:00, may be at work here: "
        "invoke ladder.n; look there, a lock does not reach other hosts on every file system. If it has ended, "
        f"remove {note}; or choose --root runs/NAME\n"
    )
    assert note.read_bytes() == before
    note.unlink()
    assert call_without_data(root, tmp_path).code == 3


@pytest.mark.fault(
    "B2-17", "a run diverges: the others go on, exit 6 at the end", how="simulated: a trainer that exits 6"
)
@pytest.mark.fault(
    "extra-trainer-killed", "a trainer is killed, as for memory: said so, the others go on, exit 6, no hang", how="real"
)
@pytest.mark.parametrize(
    ("how", "text"),
    [("killed", "killed by SIGKILL, perhaps for memory; its last line: epoch 1/6"), ("6", "made to fail")],
)
def test_a_run_that_fails_alone(stand_in, how, text):
    done = ended(stand_in.start(how))
    assert done.code == 6, done.err
    for seed in (0, 1):
        assert f"error: seed{seed} of yolo10n/shared: {text}" in done.err
    status = json.loads(invoke("ladder.status", "--root", stand_in.root, "--json").out)
    assert {cell["state"] for cell in status["cells"]} == {"waiting"}


@pytest.mark.fault(
    "B2-49",
    "the device fails: exit 7, no further run is begun; --keep-going tries the others",
    how="simulated: a trainer that exits 7",
)
def test_a_device_that_fails_stops_the_ladder(stand_in):
    done = ended(stand_in.start("7"))
    assert done.code == 7
    assert "error: qat-train: made to fail" in done.err
    assert not stand_in.run_folder(seed=1).exists()
    done = ended(stand_in.start("7", "--keep-going"))
    assert done.code == 6
    assert stand_in.run_folder(seed=1).exists()


def test_the_stand_in_is_what_the_ladder_runs(stand_in):
    command = ("qat_train", "inspect", "--checkpoint", "x", "--json")
    done = ended(start(*command, PYTHONPATH=str(stand_in.folder), STAND_IN="waits"))
    assert json.loads(done.out)["names"] == ["cat", "dog"]
