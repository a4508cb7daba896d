"""Checkpoints of quantized detectors: fp32 safetensors beside JSON, rebuilt without pickle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
from safetensors.torch import save
from torch import Tensor

import qat_artifacts
from qat_train.detector import build_detector, make_trainable, reparameterise, with_training_arguments
from qat_train.errors import InputError
from qat_train.insertion import insert_quantizers
from qat_train.places import inside
from qat_train.run import QuantizationBlock
from qat_train.state import read_tensors, with_prefix, without_prefix
from qat_train.unpickling import reason_of


@attrs.frozen(kw_only=True)
class Checkpoint:
    """checkpoint.json. `architecture` is Ultralytics' model description, JSON values throughout."""

    SCHEMA: ClassVar[str] = "qat-train/checkpoint"
    VERSION: ClassVar[str] = "1.0"

    run_id: str
    kind: Literal["final", "corrected"]
    epoch: int
    tensors: str = attrs.field(validator=inside)
    tensors_sha256: str
    variant: str
    nc: int
    names: tuple[str, ...]
    class_width: int
    imgsz: int
    architecture: dict[str, Any]
    quantization: QuantizationBlock
    series: tuple[str, ...]
    weights_sha256: dict[str, str]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, weights: Mapping[str, Mapping[str, Tensor]]) -> Path:
    """Write `checkpoint.safetensors`, then `checkpoint.json`, which names its hash. Returns the JSON's path.

    Args:
        folder: where both go.
        checkpoint: `tensors`, `tensors_sha256` and `series` are filled in here.
        weights: state dict by series name ("raw", "ema").
    """
    tensors: dict[str, Tensor] = {}
    for series, state in weights.items():
        tensors |= with_prefix(series, {k: v.detach().cpu().contiguous().clone() for k, v in state.items()})
    path = folder / "checkpoint.safetensors"
    qat_artifacts.write_bytes(path, save(tensors))
    checkpoint = attrs.evolve(
        checkpoint, tensors=path.name, tensors_sha256=qat_artifacts.sha256_file(path), series=tuple(weights)
    )
    qat_artifacts.write(folder / "checkpoint.json", checkpoint, inputs=[path])
    return folder / "checkpoint.json"


def load_checkpoint(path: Path, series: str) -> tuple[Any, Checkpoint]:
    """Rebuild the quantized detector of one series, fp32, eval mode, on the CPU.

    The order matters: build, reparameterise, quantize, then load. The other way round the saved tensors have no place.

    Raises:
        InputError: unknown series, tensors other than the JSON says, or the quantizers of a peer.
    """
    checkpoint = qat_artifacts.read(path, Checkpoint)
    if series not in checkpoint.series:
        raise InputError(f"{path}: holds the series {', '.join(checkpoint.series)}, not {series!r}")
    tensors = path.parent / Path(checkpoint.tensors).name  # beside it, whatever the record says
    if not tensors.is_file() or qat_artifacts.sha256_file(tensors) != checkpoint.tensors_sha256:
        raise InputError(f"{tensors}: missing or not the file that checkpoint.json names")
    if checkpoint.quantization.library not in ("nvidia-modelopt", "none"):
        raise InputError(
            f"{path}: quantized by {checkpoint.quantization.library}, a row to compare with; correction, audit and "
            "export work on the grid of quantization.quantizer = 'qat-train'"
        )
    model = build_detector(checkpoint.architecture, checkpoint.names, checkpoint.class_width)
    with_training_arguments(model)
    reparameterise(model)
    make_trainable(model)
    bits = {layer.name: layer.bits for layer in checkpoint.quantization.layers}
    if checkpoint.quantization.quantized_layers:
        insert_quantizers(model, bits, checkpoint.quantization.granularity)
    try:
        model.load_state_dict(without_prefix(series, read_tensors(tensors)))
    except RuntimeError as error:
        raise InputError(f"{tensors}: other tensors than the architecture has, {reason_of(error)}") from error
    return model.eval(), checkpoint
