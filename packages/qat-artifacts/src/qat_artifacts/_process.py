"""Exit codes, the same for every command."""

import enum
import signal
import sys
from collections.abc import Callable, Mapping


class Exit(enum.IntEnum):
    """0 ok, 1 bug, 2 usage or config, 3 bad input, 4 gate NO-GO, 5 busy, 6 a cell failed, 7 environment, signals."""

    OK = 0
    BUG = 1
    USAGE = 2
    INPUT = 3
    NO_GO = 4
    BUSY = 5
    CELL_FAILED = 6
    ENVIRONMENT = 7
    INTERRUPTED = 130
    TERMINATED = 143


def printable(text: str) -> str:
    """Text with a mark in place of every character that a terminal would obey or XML refuses; line ends and tabs stay.

    Names come from files, and a file of a stranger may write on the screen of whoever reads its error.
    """
    # C0 but tab and line end, C1, halves of a character, U+FFFE and U+FFFF.
    return text.translate(
        dict.fromkeys([*range(9), *range(11, 32), *range(127, 160), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "\ufffd")
    )


def run_command(command: Callable[[], object], failures: Mapping[type[Exception], Exit]) -> int:
    """Call `command`, print what went wrong in one line on stderr, and return the exit code.

    `failures` maps exception classes to codes, first match wins. An int that `command` returns is its exit code.
    Exceptions of click are recognised by their own `show` and `exit_code`. Anything else is a bug and keeps its
    traceback (Python exits 1).
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(Exit.TERMINATED))  # unlike by default, `finally` blocks run
    try:
        value = command()
        return value if isinstance(value, int) else Exit.OK
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":  # click's name for Ctrl-C
            return Exit.INTERRUPTED
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            return int(error.exit_code)
        for kind, code in failures.items():
            if isinstance(error, kind):
                print(f"error: {printable(str(error))}", file=sys.stderr)
                return code
        raise
