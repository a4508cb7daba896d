"""Which globals the pickles of a .pt file name, read as data: nothing is imported, built or called."""

import io
import pickletools
import zipfile
from collections.abc import Collection, Iterator

_LEGACY_PICKLES = 5  # torch before 1.6: magic number, protocol, machine, content, keys of the storages


class Forbidden(Exception):
    """A file does what no checkpoint does; the text follows "it"."""

    def __init__(self, what: str, *, layer: bool = False) -> None:
        super().__init__(what)
        self.layer = layer  # it names a layer, as far as names say: a detector of another family


def first_unlisted(data: bytes, allowed: Collection[str]) -> str | None:
    """The first global in the pickles of a .pt file, as module.name, that is not in `allowed`; None where all are.

    Raises:
        Forbidden: a pickle is compressed.
        Exception: one cannot be read, of the types of zipfile and pickletools. No such file is all allowed: one member
            that cannot be read must not end the search for what the others name.
    """
    return next((name for stream in _pickles(data) for name in _globals(stream) if name not in allowed), None)


def _pickles(data: bytes) -> Iterator[io.BytesIO]:
    """Each pickle of a file, positioned at its beginning."""
    if not data.startswith(b"PK\x03\x04"):  # as torch tells its two formats apart
        stream = io.BytesIO(data)
        for _ in range(_LEGACY_PICKLES):
            yield stream  # reading stops after the pickle
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            if not member.filename.lower().endswith(".pkl"):  # torch finds its members whatever their case
                continue
            if member.compress_type != zipfile.ZIP_STORED:  # torch compresses nothing, and this may unfold to gigabytes
                raise Forbidden("holds a compressed pickle")
            yield io.BytesIO(archive.read(member))


def _globals(stream: io.BytesIO) -> Iterator[str]:
    """Names of the globals of one pickle, in order.

    STACK_GLOBAL takes its two names from the stack, which is followed only as far as honest picklers write it: enough
    for an error that names the global, as torch's unpickler refuses that opcode.
    """
    strings: list[str] = []
    memo: dict[int, str] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".", 1)
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else int(argument)] = strings[-1] if strings else ""
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            strings.append(memo.get(int(argument or 0), ""))
        elif isinstance(argument, str):
            strings.append(argument)
