"""One trainer on one run: real processes, real locks."""

import errno
import json
import os
import platform
import re
import signal
import subprocess
import sys

import pytest

from qat_train import occupancy
from qat_train.errors import Busy, ResourceError
from qat_train.occupancy import FILE, sole_trainer

HOLDER = """
import os, pathlib, sys, time
from qat_train.occupancy import sole_trainer
with sole_trainer(pathlib.Path(sys.argv[1])):
    if os.fork() == 0:  # as a process that loads images
        print(os.getpid(), flush=True)
        os.close(1)
        time.sleep(600)
    os.wait()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that trains in `tmp_path`, and the number of its child."""
    made = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = int(made.stdout.readline())
    yield made
    os.kill(child, signal.SIGKILL)
    made.kill()
    made.communicate()


def test_a_second_trainer_is_refused_and_a_killed_one_holds_nobody_up(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(occupancy, "PATIENCE", 0.1)
    about = rf"{tmp_path}: process {holder.pid} on {platform.node()}, since [-0-9T:]+\+00:00, is training it; wait for"
    with pytest.raises(Busy, match=about), sole_trainer(tmp_path):
        pass
    monkeypatch.setattr(occupancy, "PATIENCE", 60.0)
    holder.kill()  # its child lives on, and holds nothing
    with sole_trainer(tmp_path):
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()
    assert (tmp_path / FILE).read_text() == ""


def test_a_note_of_another_host_counts_until_it_is_removed(tmp_path):
    note = {"pid": 7, "host": "node17", "began": "2026-01-01T00:00:00+00:00"}
    (tmp_path / FILE).write_text(json.dumps(note))
    text = (
        f"{tmp_path}: process 7 on node17, since 2026-01-01T00:00:00+00:00, may be training it; look there, a lock "
        f"does not reach other hosts on every file system. If it has ended, remove {tmp_path / FILE}; or "
        "give another folder"
    )
    with pytest.raises(Busy, match=re.escape(text)), sole_trainer(tmp_path):
        pass
    assert json.loads((tmp_path / FILE).read_text()) == note
    (tmp_path / FILE).unlink()
    with sole_trainer(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\xff"])
def test_a_torn_note_says_no_more_than_the_lock(tmp_path, text):
    (tmp_path / FILE).write_bytes(text.encode("latin-1"))
    if text == '{"pid": 1}':  # no host: it may be any
        with pytest.raises(Busy, match=r"process 1 on \?, since \?, may be training it"), sole_trainer(tmp_path):
            pass
        return
    with sole_trainer(tmp_path):
        assert json.loads((tmp_path / FILE).read_text())["host"] == platform.node()


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def missing(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", missing)
    with pytest.raises(ResourceError, match="its file system has no locks"), sole_trainer(tmp_path):
        pass
