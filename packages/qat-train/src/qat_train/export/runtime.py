"""ONNX Runtime on the CPU, and the packages that an export needs beyond a training run."""

import importlib.util
from pathlib import Path
from typing import Any

from qat_train.errors import InputError, ResourceError

EXTRA = ("onnx", "onnxruntime")


def require_packages() -> None:
    """Raise ResourceError, with the command that installs them, unless every package of the extra is there."""
    if missing := [name for name in EXTRA if importlib.util.find_spec(name) is None]:
        raise ResourceError(f"not installed: {', '.join(missing)}; an export needs pip install 'qat-train[export]'")


def open_session(model: bytes | Path, *, threads: int, fold_weights: bool = False) -> Any:
    """An inference session on the CPU.

    Args:
        model: a serialised graph or its file.
        threads: of one operator; operators run one after the other.
        fold_weights: compute the weights from their codes once, at loading: float speed for float memory.

    Raises:
        InputError: ONNX Runtime refuses the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if fold_weights:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        given = model if isinstance(model, bytes) else str(model)
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a class for each kind of refusal, none of them public
        name = "the graph" if isinstance(model, bytes) else str(model)
        raise InputError(f"{name}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from error
