"""Read a packed checkpoint with numpy and safetensors alone, and compute one convolution with it.

python read_packed.py model.safetensors model.1.conv

docs/formats/qat-int4.md says what each byte means.
"""

import json
import sys
from typing import Any

import numpy as np
from safetensors import safe_open


def read(path: str) -> dict[str, dict[str, Any]]:
    """Layers by name: what the manifest says of each, and float32 `weight` and `bias` (None without one)."""
    with safe_open(path, framework="numpy") as file:
        manifest = json.loads(file.metadata()["qat-int4"])
        if manifest["version"].split(".")[0] != "1":
            raise SystemExit(f"{path}: version {manifest['version']}, this reads 1.x")
        layers = {layer["name"]: layer for layer in manifest["layers"]}
        for name, layer in layers.items():
            layer["bias"] = file.get_tensor(f"{name}.bias") if layer["bias"] else None
            if layer["bits"] is None:
                layer["weight"] = file.get_tensor(f"{name}.weight")
                continue
            codes = file.get_tensor(f"{name}.codes")
            if layer["bits"] <= 4:  # two codes a byte, the earlier one in the low half
                nibbles = np.stack((codes & 15, codes >> 4), axis=1).reshape(-1)[: np.prod(layer["shape"])]
                codes = (nibbles ^ 8).astype(np.int8) - np.int8(8)
            scale = file.get_tensor(f"{name}.scale").reshape(-1, 1, 1, 1)
            layer["weight"] = codes.reshape(layer["shape"]).astype(np.float32) * scale
    return layers


def convolve(images: np.ndarray, layer: dict[str, Any]) -> np.ndarray:
    """The layer's convolution of images (batch, channels, height, width)."""
    (up, left), (down, right), groups = layer["padding"], layer["stride"], layer["groups"]
    kernel = [d * (k - 1) + 1 for d, k in zip(layer["dilation"], layer["shape"][2:], strict=True)]
    padded = np.pad(images, ((0, 0), (0, 0), (up, up), (left, left)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::down, ::right]
    windows = windows[..., :: layer["dilation"][0], :: layer["dilation"][1]]
    windows = windows.reshape(len(images), groups, -1, *windows.shape[2:])
    weight = layer["weight"].reshape(groups, -1, *layer["shape"][1:])
    output: np.ndarray = np.einsum("bgihwkl,goikl->bgohw", windows, weight)
    output = output.reshape(len(images), -1, *windows.shape[3:5])
    return output if layer["bias"] is None else output + layer["bias"].reshape(-1, 1, 1)


if __name__ == "__main__":
    found = read(sys.argv[1])[sys.argv[2]]
    noise = np.random.default_rng(0).standard_normal((1, found["shape"][1] * found["groups"], 16, 16), np.float32)
    print(f"{found['bits']} bits, weight {found['weight'].shape}, output {convolve(noise, found).shape}")
