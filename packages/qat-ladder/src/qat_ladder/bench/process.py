"""One run of one contestant: a process, what it took, and what it said."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from qat_ladder.bench import _launcher
from qat_ladder.bench.case import Contestant
from qat_ladder.bench.record import Run


class Failed(Exception):
    """A contestant that could not be measured; the text says why."""


def missing(contestant: Contestant) -> str:
    """Why a contestant cannot run here, or nothing."""
    absent = [name for name in contestant.needs if importlib.util.find_spec(name) is None]
    if contestant.missing or not absent:
        return contestant.missing
    return f"not installed: {', '.join(absent)}"


def run(contestant: Contestant, folder: Path) -> Run:
    """Run a contestant once in `folder`.

    Raises:
        Failed: it ended with another code than 0, or did not print what it should.
    """
    contestant.before()
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        code, took = _wait(contestant, folder, stdout.fileno(), stderr.fileno())
        stdout.seek(0)
        stderr.seek(0)
        said, complaint = stdout.read().decode(errors="replace"), stderr.read().decode(errors="replace")
    if code:
        lines = (complaint.strip() or said.strip()).splitlines()
        raise Failed(f"exit code {code}: {lines[-1] if lines else 'no output'}")
    wall, cpu, peak = map(float, took.split())
    printed = _printed(said)
    if contestant.timed == "printed":
        try:
            wall = float(printed.pop("seconds"))
        except (KeyError, ValueError) as error:
            raise Failed('the last line of stdout is no JSON object with a number as "seconds"') from error
    return Run(seconds=wall, cpu=cpu, peak_mb=peak / 1e6, printed=printed)


def _wait(contestant: Contestant, folder: Path, stdout: int, stderr: int) -> tuple[int, str]:
    """Exit code and the launcher's report; should we be interrupted, no process is left behind."""
    readable, report = os.pipe()
    launcher = (sys.executable, "-I", "-S", _launcher.__file__, str(report), *contestant.command)
    with os.fdopen(readable) as stream:
        try:
            process = subprocess.Popen(
                launcher,
                cwd=folder,
                env=os.environ | dict(contestant.environment),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(report,),
                start_new_session=True,  # a group of its own, which can be ended as a whole
            )
        finally:
            os.close(report)
        try:
            return process.wait(), stream.read()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


def _printed(stdout: str) -> dict[str, str]:
    lines = stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        found = None
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
