"""Loaded by every Python process of a ladder under test, because this folder is on PYTHONPATH.

It notes what the process is about to do to the disk, and ends the process at the step it was told: between a temporary
file and its rename, between a checkpoint and the state that names it. The products know nothing of it. Environment:

- KILLING_LOG: a file that grows by a line `time, stage, pid, event, number` for each start, step and end.
- KILLING_AT: `stage/number/victim`: SIGKILL before that step; the victim is the process ("one") or all of the ladder.
- KILLING_NURSERY: socket of `nursery.py`, which has torch imported; the slow products are forked there.
"""

import atexit
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

STEPS = ("replace", "rename", "fsync")
WARM = ("qat_train", "qat_qc")


def stage_of(argv):
    """Product and command, such as `qat_train run`; None where Python was started for something else."""
    if "-m" not in argv[:-1]:
        return None
    return " ".join(argv[argv.index("-m") + 1 :][:2])


def arm(stage, group):
    """Note this process's steps under `stage`; `group` is the process group that "all" ends."""
    log = os.open(os.environ["KILLING_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    which, at, victim = (os.environ.get("KILLING_AT") or "-/0/one").split("/")
    number = 0

    def note(event):
        os.write(log, f"{time.monotonic()}\t{stage}\t{os.getpid()}\t{event}\t{number}\n".encode())

    def watched(name, inner):
        def step(*arguments, **named):
            nonlocal number
            number += 1
            if (which, int(at)) == (stage, number):
                note("killed")
                if victim == "all":
                    os.killpg(group, signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            note(name)
            return inner(*arguments, **named)

        return step

    note("start")
    for name in STEPS:
        setattr(os, name, watched(name, getattr(os, name)))
    return lambda: note("end")


def hand_over(place, argv):
    """Have the nursery do it, with our files, folder and environment; end as the child there ended."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place)
        about = {"argv": argv, "cwd": str(Path.cwd()), "environ": dict(os.environ), "group": os.getpgrp()}
        socket.send_fds(line, [b"!"], [0, 1, 2])
        line.sendall(json.dumps(about).encode() + b"\n")
        code = line.recv(16)
    if not code:  # killed, so are we
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(int(code))


if __name__ == "sitecustomize" and "KILLING_LOG" in os.environ and (_stage := stage_of(sys.orig_argv)):
    if _stage.split()[0] in WARM and os.environ.get("KILLING_NURSERY"):
        hand_over(os.environ["KILLING_NURSERY"], sys.orig_argv[sys.orig_argv.index("-m") + 1 :])
    atexit.register(arm(_stage, os.getpgrp()))
