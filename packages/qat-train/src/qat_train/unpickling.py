"""Opening a .pt file that somebody else made: a pickle can name any function, and unpickling calls it.

Two barriers. First the file's pickles are read as data, and the file is refused if one of them cannot be read or names
anything that is not listed here: exactly what files of YOLOv10, YOLO11 and YOLOv8 detectors hold, in floating point,
with optimizer, results and loss. Then torch's weights-only unpickler builds it. That knows the list and what torch
itself has built in, further tensors, storages and containers: should the two ever read a file differently, nothing but
these is called. See `_Closed` for what the listed classes themselves may do. The one way round is the file's own
SHA-256, stated by the caller: the file then may run code, and only that file.
"""

import functools
import hashlib
import importlib
import io
import logging
import pathlib
import types
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import nn
from ultralytics.nn.tasks import temporary_modules

from qat_train.errors import InputError
from qat_train.pickles import Forbidden, first_unlisted
from qat_train.trust import parse_trust

logger = logging.getLogger(__name__)

# Built by torch itself, whose weights-only unpickler knows them; it knows many more, which no detector needs.
TENSORS = frozenset(
    {
        "__builtin__.set",
        "_codecs.encode",  # protocol 2 writes bytes as text
        "builtins.set",
        "collections.OrderedDict",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor_v2",
        "torch.Size",
        "torch.device",
        *(f"torch.{kind}Storage" for kind in ("BFloat16", "Bool", "Double", "Float", "Half", "Int", "Long")),
    }
)
LAYERS = {
    "torch.nn.modules.activation": ("SiLU",),
    "torch.nn.modules.batchnorm": ("BatchNorm2d",),
    "torch.nn.modules.container": ("ModuleList", "Sequential"),
    "torch.nn.modules.conv": ("Conv2d",),
    "torch.nn.modules.linear": ("Identity",),
    "torch.nn.modules.pooling": ("MaxPool2d",),
    "torch.nn.modules.upsampling": ("Upsample",),
    "ultralytics.nn.modules.block": (
        *("Attention", "Bottleneck", "C2PSA", "C2f", "C2fCIB", "C3k", "C3k2", "CIB", "DFL", "PSA", "PSABlock"),
        *("RepVGGDW", "SCDown", "SPPF"),
    ),
    "ultralytics.nn.modules.conv": ("Concat", "Conv", "DWConv"),
    "ultralytics.nn.modules.head": ("Detect", "v10Detect"),
    "ultralytics.nn.tasks": ("DetectionModel",),
}
# An architecture's `activation` puts one of these in SiLU's place; none of them has parameters.
ACTIVATIONS = ("ELU", "GELU", "Hardswish", "LeakyReLU", "Mish", "ReLU", "ReLU6", "SELU")
ALIASES = {"ultralytics.nn.tasks.YOLOv10DetectionModel": "ultralytics.nn.tasks.DetectionModel"}  # until 8.3
# Where a trusted file looks for names that have moved, as Ultralytics' `torch_safe_load` has it.
MOVED_MODULES = {
    "ultralytics.yolo.data": "ultralytics.data",
    "ultralytics.yolo.utils": "ultralytics.utils",
    "ultralytics.yolo.v8": "ultralytics.models.yolo",
}
MOVED_NAMES = ALIASES | {
    "pathlib.WindowsPath": "pathlib.PosixPath",
    "ultralytics.nn.modules.block.Silence": "torch.nn.Identity",  # YOLOv9e
    "ultralytics.utils.loss.v10DetectLoss": "ultralytics.utils.loss.E2EDetectLoss",
}
# A loss is saved with the model where it has been used; it is built anew, so nothing of it is kept.
DROPPED = (
    "torch.nn.modules.loss.BCEWithLogitsLoss",
    *(f"ultralytics.utils.loss.{name}" for name in ("BboxLoss", "DFLoss", "E2EDetectLoss", "E2ELoss")),
    *(f"ultralytics.utils.loss.{name}" for name in ("v10DetectLoss", "v8DetectionLoss")),
    "ultralytics.utils.tal.TaskAlignedAssigner",
)
_LAYERS_OF = ("torch.nn.modules.", "ultralytics.nn.modules.")


@attrs.frozen(kw_only=True)
class Opened:
    """What a .pt file holds, and the hash of the very bytes that it was read from."""

    content: dict[str, Any] = attrs.field(repr=False)
    sha256: str


def open_pt(path: Path, trust: str | None = None) -> Opened:
    """Read a checkpoint of Ultralytics or of ours; none of the file's code runs.

    Args:
        path: a .pt file, of torch's zip format or the one before 1.6.
        trust: "sha256:<hex>" of a file that may run code. It counts only for a file of that hash, and only where the
            file cannot be opened otherwise.

    Raises:
        SpecError: `trust` is no hash.
        InputError: damaged, no checkpoint, or it names what is not allowed; the text says what, and the file's hash.
    """
    trusted = parse_trust(trust) if trust else None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        if (forbidden := first_unlisted(data, TENSORS | _stand_ins().keys())) is not None:
            raise Forbidden(f"names {_plain(forbidden)}", layer=forbidden.startswith(_LAYERS_OF))
        content = _build(data)
    except Exception as error:  # damaged and hostile files raise a dozen types
        if trusted == sha256:
            content = _run(path, data)
        elif isinstance(error, Forbidden):
            raise InputError(_refusal(path, error, sha256, trusted)) from error
        else:
            raise InputError(f"{path} cannot be read as a checkpoint: {reason_of(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, no checkpoint of Ultralytics")
    return Opened(content=content, sha256=sha256)


def _refusal(path: Path, error: Forbidden, sha256: str, trusted: str | None) -> str:
    other = f" (--trust-checkpoint is for another file, sha256:{trusted})" if trusted else ""
    if error.layer:
        why = "which is no layer of YOLOv10, YOLO11 or YOLOv8"
        first = "Start from a detector of these; opening this one lets its code run:"
    else:
        why = "which no checkpoint of a detector needs and which may run code"
        first = "Take the file from its source again;"
    return (
        f"{path} was not opened: it {error}, {why}{other}. {first} only if you would let whoever made it work with "
        f"your account, pass --trust-checkpoint sha256:{sha256}"
    )


def _plain(text: str) -> str:
    """What a file says, without what a terminal would obey and at a length that can be read."""
    return ascii(text)[1:-1][:200]


def reason_of(error: Exception) -> str:
    """The first line of an error that a file caused, fit to be printed."""
    _, _, inner = str(error).partition("WeightsUnpickler error:")  # torch wraps it in advice to run the file's code
    return _plain((inner or str(error)).strip().split("\n")[0]) or type(error).__name__


# Building from the list -----------------------------------------------------------------------------------------------


class _Closed:
    """Comes first among the bases of a listed class while a file is read: it can be filled, but not called.

    Pickles of modules never call their classes: they make an empty object and fill it. A file that calls one runs its
    constructor on arguments of its choice, and DetectionModel's reads files, evaluates strings and fetches addresses.
    """

    def __init__(self, *_: object, **__: object) -> None:
        raise Forbidden(f"calls {type(self).__name__}")


class _Dropped(_Closed):
    """What is read and not kept."""


class _Dtype:
    """numpy.dtype of a number: its code alone."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in ("b1", "f2", "f4", "f8", "i4", "i8"):
            raise ValueError(f"a number of numpy's type {code!r}")
        self.code = code

    def __setstate__(self, state: tuple[object, ...]) -> None:
        """Byte order and more, of which every machine that runs torch has the same."""


def _scalar(kind: _Dtype, raw: bytes) -> Any:
    """A number of numpy, as Python's own."""
    return np.frombuffer(raw, np.dtype(kind.code))[0].item()


@functools.cache
def _stand_ins() -> dict[str, Any]:
    """What each listed name is built as, by the name as it is in files."""
    found: dict[str, Any] = {
        f"{module}.{name}": _closed(getattr(importlib.import_module(module), name))
        for module, names in (*LAYERS.items(), ("torch.nn.modules.activation", ACTIVATIONS))
        for name in names
    }
    found |= {old: found[new] for old, new in ALIASES.items()}
    found |= dict.fromkeys(DROPPED, _Dropped)
    found |= dict.fromkeys(  # arguments of a training run
        ("ultralytics.utils.IterableSimpleNamespace", "ultralytics.yolo.utils.IterableSimpleNamespace"),
        types.SimpleNamespace,
    )
    for module in ("pathlib", "pathlib._local"):  # 3.13's name
        found[f"{module}.PosixPath"] = pathlib.PurePosixPath
        found[f"{module}.WindowsPath"] = pathlib.PureWindowsPath
    found["numpy.dtype"] = _Dtype
    found |= dict.fromkeys(("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"), _scalar)
    return found


def _closed(layer: type) -> type:
    return type(layer.__name__, (_Closed, layer), {"__module__": layer.__module__})


def _build(data: bytes) -> Any:
    """Unpickle with torch's weights-only unpickler: from the list and torch's own, not what libraries have added."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        torch.serialization.add_safe_globals([(stand_in, name) for name, stand_in in _stand_ins().items()])
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
    for value in content.values() if isinstance(content, dict) else ():
        for module in value.modules() if isinstance(value, nn.Module) else ():
            if type(module).__mro__[1] is _Closed:
                module.__class__ = type(module).__mro__[2]  # the one that the file names
    return content


def _run(path: Path, data: bytes) -> Any:
    """Unpickle a trusted file: whatever it names is imported and called."""
    logger.warning("%s: code in this file may run, as --trust-checkpoint allows", path)
    try:
        with temporary_modules(modules=MOVED_MODULES, attributes=MOVED_NAMES):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    except Exception as error:
        raise InputError(f"{path} cannot be read as a checkpoint, though it is trusted: {reason_of(error)}") from error
