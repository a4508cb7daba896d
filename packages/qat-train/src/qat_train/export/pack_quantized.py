"""An export in the layout "pack-quantized" of compressed-tensors (github.com/vllm-project/compressed-tensors, 0.20).

Each convolution is the matrix of its weight, (C, inputs / groups * height * width), in C order, whose product with
unfolded patches is the convolution. Layer L has L.weight_packed, L.weight_scale, L.weight_shape and L.bias, or L.weight
where it is floating point; config.json has the library's `quantization_config`, and the geometry of the convolutions,
which the library knows nothing of. Nothing of the library is needed to write it: it imports transformers, which
ModelOpt warns of.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

import qat_artifacts
from qat_train.errors import TrainError
from qat_train.export.network import Layer, Network

WIDTHS = {"int4": 4, "int8": 8}  # bits that a code takes here, by how an export stores it
FORMAT = "pack-quantized"


def pack_words(codes: npt.NDArray[np.int8], bits: int) -> npt.NDArray[np.int32]:
    """Codes as unsigned numbers from the lowest bit of 32-bit words on, each row in words of its own.

    Args:
        codes: (rows, columns), of the width.
        bits: 4 or 8; 2^(bits - 1) is added to each code, so that none is negative.

    Returns:
        (rows, ceil(columns * bits / 32)), the last bits of a row zero.

    >>> pack_words(np.array([[-8, 7, 0]], dtype=np.int8), 4).tolist()  # 0x8F0
    [[2288]]
    """
    rows, columns = codes.shape
    per_word = 32 // bits
    shifted = np.zeros((rows, -(-columns // per_word) * per_word), dtype=np.uint32)
    shifted[:, :columns] = codes.astype(np.int32) + (1 << (bits - 1))
    places = np.arange(per_word, dtype=np.uint32) * np.uint32(bits)
    words: npt.NDArray[np.uint32] = (shifted.reshape(rows, -1, per_word) << places).sum(axis=2, dtype=np.uint32)
    return words.view(np.int32)


def write_pack_quantized(folder: Path, network: Network) -> None:
    """Write model.safetensors and config.json, atomically; the same network gives the same bytes.

    Raises:
        TrainError: a layer has codes and no scale.
    """
    tensors: dict[str, npt.NDArray[Any]] = {}
    for layer in network.layers:
        tensors |= {f"{layer.convolution.name}.{part}": array for part, array in _tensors(layer).items()}
    qat_artifacts.write_bytes(folder / "model.safetensors", save(tensors))
    qat_artifacts.write_text(folder / "config.json", qat_artifacts.dumps(_config(network)))


def _tensors(layer: Layer) -> dict[str, npt.NDArray[Any]]:
    own = layer.convolution
    matrix = layer.values.reshape(own.shape[0], -1)
    found: dict[str, npt.NDArray[Any]] = {} if layer.bias is None else {"bias": layer.bias}
    if own.storage == "float32":
        return found | {"weight": matrix}
    if layer.scale is None:
        raise TrainError(f"{own.name}: codes without a scale")
    return found | {
        "weight_packed": pack_words(matrix, WIDTHS[own.storage]),
        "weight_scale": layer.scale[:, None],
        "weight_shape": np.array(matrix.shape, dtype=np.int64),
    }


def _config(network: Network) -> dict[str, Any]:
    convolutions = [layer.convolution for layer in network.layers]
    groups = {}
    for storage, bits in WIDTHS.items():
        if names := [own.name for own in convolutions if own.storage == storage]:
            weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
            groups[storage] = {"targets": names, "weights": weights, "format": FORMAT}
    return {
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "format": FORMAT,
            "quantization_status": "compressed",
            "config_groups": groups,
            "ignore": [own.name for own in convolutions if own.storage == "float32"],
        },
        "about": qat_artifacts.unstructure(network.about),
        "convolutions": [qat_artifacts.unstructure(own) for own in convolutions],
    }
