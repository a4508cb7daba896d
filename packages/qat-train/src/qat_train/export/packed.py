"""The packed checkpoint, specified byte by byte in docs/formats/qat-int4.md: safetensors with a manifest in its header.

Layer L has up to three tensors: L.codes (uint8 nibbles or int8) and L.scale, or L.weight (float32); and L.bias.
"""

import json
import math
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import qat_artifacts
from qat_artifacts import ArtifactError
from qat_train.errors import InputError
from qat_train.export.network import About, Convolution, Layer, Network

KEY = "qat-int4"  # the only metadata key: safetensors writes several in random order, and a file should have one hash
MAJOR, MINOR = 1, 0


@attrs.frozen(kw_only=True)
class Manifest:
    """JSON under the metadata key: the version of the format, what the network is, and its layers in order."""

    version: str
    created_by: str
    about: About
    layers: tuple[Convolution, ...]


def pack_nibbles(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Two's complement nibbles of codes in [-8, 7], flattened in C order, the earlier one in the low half of a byte.

    An odd count leaves the last high half zero. ONNX stores INT4 tensors in the same bytes.

    >>> pack_nibbles(np.array([1, -8, 7], dtype=np.int8)).tolist()
    [129, 7]
    """
    flat = np.zeros(codes.size + codes.size % 2, dtype=np.uint8)
    flat[: codes.size] = codes.reshape(-1).view(np.uint8) & 0x0F
    packed: npt.NDArray[np.uint8] = flat[0::2] | (flat[1::2] << np.uint8(4))
    return packed


def unpack_nibbles(packed: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.int8]:
    """Codes of packed nibbles.

    Raises:
        ValueError: other than half as many bytes as weights, or a bit set after the last one.

    >>> unpack_nibbles(np.array([129, 7], dtype=np.uint8), (3,)).tolist()
    [1, -8, 7]
    """
    count = math.prod(shape)
    if packed.shape != ((count + 1) // 2,):
        raise ValueError(f"{packed.size} bytes of shape {packed.shape}, {count} weights take {(count + 1) // 2}")
    nibbles = np.stack((packed & 0x0F, packed >> 4), axis=1).reshape(-1)
    if nibbles[count:].any():
        raise ValueError("the last half byte is not empty")
    codes = (nibbles[:count] ^ 8).astype(np.int8) - np.int8(8)
    return codes.reshape(shape)


def write_packed(path: Path, network: Network, *, created_by: str) -> None:
    """Write the file, atomically; the same network gives the same bytes."""
    tensors: dict[str, npt.NDArray[Any]] = {}
    for layer in network.layers:
        own = layer.convolution
        if own.bits is None:
            tensors[f"{own.name}.weight"] = layer.values
        else:
            tensors[f"{own.name}.codes"] = pack_nibbles(layer.values) if own.storage == "int4" else layer.values
            tensors[f"{own.name}.scale"] = _present(layer.scale)
        if own.bias:
            tensors[f"{own.name}.bias"] = _present(layer.bias)
    manifest = Manifest(
        version=f"{MAJOR}.{MINOR}",
        created_by=created_by,
        about=network.about,
        layers=tuple(layer.convolution for layer in network.layers),
    )
    text = json.dumps(qat_artifacts.unstructure(manifest), sort_keys=True, separators=(",", ":"), allow_nan=False)
    qat_artifacts.write_bytes(path, save(tensors, metadata={KEY: text}))


def _present(array: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    assert array is not None
    return array


def read_packed(path: Path) -> Network:
    """Read and check a file, whoever wrote it.

    Raises:
        InputError: no safetensors, no manifest, another major version, or tensors other than the manifest says; the
            text names the file and the layer.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            manifest = _manifest(file.metadata() or {}, path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except SafetensorError as error:
        raise InputError(f"{path}: no whole safetensors file: {error}") from error
    layers = []
    try:
        for convolution in manifest.layers:
            layers.append(_take(convolution, tensors))
        if tensors:
            raise ValueError(f"tensor {min(tensors)} belongs to no layer")
        return Network(about=manifest.about, layers=tuple(layers))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _manifest(metadata: dict[str, str], path: Path) -> Manifest:
    if KEY not in metadata:
        raise InputError(f"{path}: no packed checkpoint, its header has no {KEY!r}")
    try:
        raw = qat_artifacts.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the manifest is not valid JSON: {error}") from error
    version = raw.get("version") if isinstance(raw, dict) else None
    major, _, minor = str(version).partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise InputError(f"{path}: the manifest names no version")
    if int(major) != MAJOR:
        raise InputError(f"{path}: {KEY} {version}, this program reads {MAJOR}.x")
    try:
        return qat_artifacts.structure(raw, Manifest, source=f"{path}: manifest", strict=int(minor) <= MINOR)
    except ArtifactError as error:
        raise InputError(str(error)) from error


def _take(convolution: Convolution, tensors: dict[str, npt.NDArray[Any]]) -> Layer:
    """The layer made of its tensors, which are taken out."""

    def take(part: str) -> npt.NDArray[Any]:
        try:
            return tensors.pop(f"{convolution.name}.{part}")
        except KeyError:
            raise ValueError(f"{convolution.name}: tensor {part} is missing") from None

    if convolution.bits is None:
        values, scale = take("weight"), None
    else:
        values, scale = take("codes"), take("scale")
        if convolution.storage == "int4":
            if values.dtype != np.uint8:
                raise ValueError(f"{convolution.name}: codes are {values.dtype}, nibbles in uint8 are expected")
            try:
                values = unpack_nibbles(values, convolution.shape)
            except ValueError as error:
                raise ValueError(f"{convolution.name}: codes: {error}") from error
    return Layer(convolution=convolution, values=values, scale=scale, bias=take("bias") if convolution.bias else None)
