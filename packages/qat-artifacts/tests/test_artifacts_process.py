"""Exit codes: what a command returned or raised, as the shell sees it."""

import signal
import subprocess
import sys

import pytest

from qat_artifacts import Exit, printable, run_command


@pytest.fixture(autouse=True)
def _signal_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def raiser(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("returned", "expected"), [(None, Exit.OK), (Exit.NO_GO, Exit.NO_GO), (0, Exit.OK), ("text", Exit.OK)]
)
def test_an_int_that_the_command_returns_is_the_exit_code(returned, expected):
    assert run_command(lambda: returned, {}) == expected


def test_first_matching_failure_decides_and_its_text_goes_to_stderr(capsys):
    failures = {FileNotFoundError: Exit.INPUT, OSError: Exit.ENVIRONMENT}
    assert run_command(raiser(FileNotFoundError("no data")), failures) == Exit.INPUT
    assert run_command(raiser(OSError("disk full")), failures) == Exit.ENVIRONMENT
    assert capsys.readouterr() == ("", "error: no data\nerror: disk full\n")


def test_the_text_of_a_failure_writes_nothing_on_a_terminal_but_text(capsys):
    named = "a\x1b[2J\x1b]0;b\x07\x9bc\r\ud800\ufffe\uffff é 👩‍🔬\n\tmore"
    assert printable(named) == "a\ufffd[2J\ufffd]0;b\ufffd\ufffdc\ufffd\ufffd\ufffd\ufffd é 👩‍🔬\n\tmore"
    assert run_command(raiser(OSError(named)), {OSError: Exit.INPUT}) == Exit.INPUT
    assert capsys.readouterr().err == f"error: {printable(named)}\n"


def test_an_unexpected_exception_is_a_bug_and_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError, match="surprise"):
        run_command(raiser(ZeroDivisionError("surprise")), {OSError: Exit.ENVIRONMENT})


def test_usage_errors_of_click_show_themselves_and_exit_with_their_code(capsys):
    class UsageError(Exception):
        exit_code = 2

        def show(self):
            print("Usage: x", file=sys.stderr)

    assert run_command(raiser(UsageError()), {}) == Exit.USAGE
    assert capsys.readouterr().err == "Usage: x\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), type("Abort", (RuntimeError,), {})()])
def test_an_interrupt_exits_130(error):
    assert run_command(raiser(error), {}) == Exit.INTERRUPTED


def test_a_terminated_command_cleans_up_and_exits_143(tmp_path):
    code = f"""
import pathlib, sys, time
from qat_artifacts import run_command
def command():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        pathlib.Path({str(tmp_path / "cleaned")!r}).touch()
sys.exit(run_command(command, {{}}))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert (process.wait(timeout=30), (tmp_path / "cleaned").exists()) == (143, True)
    process.stdout.close()
