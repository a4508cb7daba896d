"""The public commands, called as a user calls them: in this process where nothing but the text matters, else in one
of their own."""

import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import attrs
from invoke.main import program
from PIL import Image

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "yolov10n-demo.pt"
PATIENCE = 300  # seconds: far above what a sign of life takes, a first epoch of training included, on any machine


@attrs.frozen
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def called(body, argv):
    """Run the body of a console script with this command line; its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    code = 0
    try:
        with (
            mock.patch.object(sys, "argv", [str(part) for part in argv]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            body()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        signal.signal(signal.SIGTERM, before)
    return Done(code, out.getvalue(), err.getvalue())


def _pillow():
    """Pillow's own `Image.open`: Ultralytics replaces it in its process, which in life is never that of qat-data."""
    patches = sys.modules.get("ultralytics.utils.patches")
    return mock.patch.object(Image, "open", patches._image_open if patches else Image.open)


def call(product, *arguments):
    """`qat-data`, `qat-train`, `qat-qc`, `qat-report` or `qat-gate`, in this process."""
    main = importlib.import_module(f"{product.replace('-', '_')}.cli").main
    with _pillow() if product == "qat-data" else contextlib.nullcontext():
        return called(main, [product, *arguments])


def invoke(*arguments):
    """A task, in this process."""
    with contextlib.chdir(ROOT):
        argv = ["invoke", *map(str, arguments)]
        return called(lambda: program.run(argv, exit=False), argv)


def start(*command, **environment):
    """`python -m COMMAND` as a process of its own, stderr to be read line by line; Ctrl-C reaches it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the background of a shell ignores it, for all
    try:
        return subprocess.Popen(
            [sys.executable, "-m", *map(str, command)],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def until(process, text):
    """Read stderr up to a line with `text`; what was read. What does not write it in time is killed."""
    read = []
    timer = threading.Timer(PATIENCE, process.kill)  # the end of the process ends a read that would wait for ever
    timer.start()
    try:
        for line in process.stderr:
            read.append(line)
            if text in line:
                return "".join(read)
    finally:
        timer.cancel()
    raise AssertionError(f"{text!r} never came: {''.join(read)}")


def appears(process, file):
    """Wait for a file that a process, or one that it started, leaves; what it says."""
    limit = time.monotonic() + PATIENCE
    while not file.exists():
        if process.poll() is not None or time.monotonic() > limit:
            process.kill()
            raise AssertionError(f"{file} never came; exit code {process.wait()}: {process.stderr.read()}")
        time.sleep(0.02)
    return file.read_text()


def ended(process):
    """Exit code, output and the rest of stderr; what hangs is killed, and the test fails."""
    try:
        out, err = process.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Done(process.returncode, out, err)


def alive(pid):
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid, seconds=20):
    """Whether a process ends by itself within that time."""
    limit = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < limit:
        time.sleep(0.05)
    return not alive(pid)
