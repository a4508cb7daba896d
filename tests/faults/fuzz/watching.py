"""What a reader may do while it reads a hostile file: nothing outside its folder, nothing to its files, and soon."""

import contextlib
import signal
import sys
from pathlib import Path

PATIENCE = 60  # seconds: far above what any reader takes for a file of some kilobytes, on any machine
_SEEN = None  # what is opened while a reader is watched; an audit hook cannot be taken away again
_EVENTS = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.symlink", "os.truncate")


class Escape(AssertionError):
    """A reader touched what its file has no business to name."""


class Hang(AssertionError):
    """A reader did not come back."""


def _note(event, arguments):
    if _SEEN is not None and event in _EVENTS and isinstance(arguments[0], str | bytes | Path):
        writes = event == "open" and isinstance(arguments[1], str) and bool(set(arguments[1]) & set("wax+"))
        _SEEN.append((event, str(arguments[0]), writes or event not in ("open", "os.listdir", "os.scandir")))


sys.addaudithook(_note)


def _late(_signal, _frame):
    raise Hang(f"no answer within {PATIENCE} seconds")


@contextlib.contextmanager
def watched(folder, tree, *, follows=False):
    """Run a block that reads files of `folder`, and refuse what it may not do.

    Args:
        folder: may be read.
        tree: holds `folder` and, beside it, what must not be read; nothing in it may be written.
        follows: other files may be read, as the format lets its file name them anywhere.

    Raises:
        Escape, Hang: it did, or it takes longer than `PATIENCE`.
    """
    global _SEEN  # noqa: PLW0603  # the hook is of the process
    before = stamps(tree)
    compiled = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # a first import writes into __pycache__, whatever the file says
    _SEEN = seen = []
    previous = signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        _SEEN = None
        sys.dont_write_bytecode = compiled
    for event, name, writes in seen:
        path = Path(name).resolve()
        inside = path == folder or folder in path.parents
        if writes or (not follows and not inside and (name == "/etc/passwd" or tree in path.parents)):
            raise Escape(f"{event} {name}")
    if stamps(tree) != before:
        raise Escape("a file has changed")


def stamps(tree):
    """Size and time of change of every file."""
    found = {}
    for path in tree.rglob("*"):
        about = path.lstat()
        found[path] = (about.st_size, about.st_mtime_ns, about.st_ino)
    return found
