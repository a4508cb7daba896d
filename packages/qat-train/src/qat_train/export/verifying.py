"""Check an export by its own files, without the run that it came from."""

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

import qat_artifacts
from qat_train.errors import InputError
from qat_train.export.network import Network
from qat_train.export.packed import read_packed
from qat_train.export.parity import StoredWeight, stored_weights
from qat_train.export.record import Export


def verify_export(folder: Path) -> Export:
    """Read every file of an export and hold it against the others.

    Returns:
        The record, whose hashes are those of the files and whose packed and ONNX weights are equal to the last bit.

    Raises:
        InputError, ArtifactError: something is missing, malformed, or not what another file says; the text names it.
    """
    record = qat_artifacts.read(folder / "export.json", Export)
    for name, sha256 in sorted(record.files_sha256.items()):
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing")
        if (found := qat_artifacts.sha256_file(path)) != sha256:
            raise InputError(f"{path}: SHA-256 {found[:12]}, export.json says {sha256[:12]}")
    packed = read_packed(folder / record.files.packed)
    if (stated := packed.about.weights_sha256) != record.weights_sha256:
        raise InputError(f"{folder / record.files.packed}: weights {stated[:12]}, export.json says others")
    path = folder / record.files.onnx
    _compare(packed, stored_weights(read_graph(path)), path)
    return record


def read_graph(path: Path) -> onnx.ModelProto:
    """An ONNX file that passes onnx's full check.

    Raises:
        InputError: it is no ONNX file, or not a valid graph.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except (DecodeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError, OSError) as error:
        raise InputError(f"{path}: no valid ONNX graph: {str(error).splitlines()[0]}") from error
    return model


def _compare(packed: Network, stored: dict[str, StoredWeight], path: Path) -> None:
    for layer in packed.layers:
        name = layer.convolution.name
        if name not in stored:
            raise InputError(f"{path}: no convolution uses the weight of {name}")
        found = stored[name]
        parts = (
            ("values", layer.values, found.values),
            ("scale", layer.scale, found.scale),
            ("bias", layer.bias, found.bias),
        )
        for what, ours, theirs in parts:
            equal = ours is theirs is None if ours is None or theirs is None else np.array_equal(ours, theirs)
            if not equal:
                raise InputError(f"{path}: {what} of {name} are not those of the packed file")
    if left := stored.keys() - {layer.convolution.name for layer in packed.layers}:
        raise InputError(f"{path}: {min(left)} is not in the packed file")
