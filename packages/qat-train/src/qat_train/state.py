"""Exact training state at the end of an epoch: fp32 tensors in safetensors, everything else in JSON, no pickle.

Ultralytics keeps the EMA only, in fp16; resuming from that restarts the raw weights from the average, which for a study
of averaging changes the treatment. Here the raw weights, the EMA, and the optimizer are kept to the last bit. Random
number generators are not: each epoch begins from a seed of its own (`randomness.epoch_seed`).

`state.json` is the commit point: it names the tensor file and its hash, and is replaced atomically last.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

import qat_artifacts
from qat_train.errors import InputError
from qat_train.places import inside
from qat_train.run import EpochRecord, Event


@attrs.frozen(kw_only=True)
class TrainingState:
    """Where a run stands. `epoch` counts finished epochs; `spec_sha256` is the specification it belongs to."""

    SCHEMA: ClassVar[str] = "qat-train/state"
    VERSION: ClassVar[str] = "1.1"  # 1.1: `records` measure drift

    epoch: int
    spec_sha256: str
    tensors: str = attrs.field(validator=inside)
    tensors_sha256: str
    ema_updates: int
    criterion_updates: int
    rollbacks: int
    seconds: float
    optimizer_groups: tuple[dict[str, Any], ...]
    scaler: dict[str, float | int]
    records: tuple[EpochRecord, ...]
    events: tuple[Event, ...]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Tensors of an optimizer's state by "optimizer.<parameter index>.<name>"."""
    return {
        f"optimizer.{index}.{name}": value
        for index, slots in optimizer.state_dict()["state"].items()
        for name, value in slots.items()
        if isinstance(value, Tensor)
    }


def optimizer_groups(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], ...]:
    """Parameter groups as JSON values."""
    return tuple(
        {k: list(v) if isinstance(v, tuple) else v for k, v in group.items()}
        for group in optimizer.state_dict()["param_groups"]
    )


def restore_optimizer(optimizer: torch.optim.Optimizer, state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    """Load groups and tensors back, each tensor in the memory format of its parameter.

    On a GPU Ultralytics trains in channels_last with fused optimizers, which refuse moments of other strides; the file
    keeps none.
    """
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            slots.setdefault(int(index), {})[name] = value
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in state.optimizer_groups]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
    for parameter, restored in optimizer.state.items():
        for name, value in restored.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                restored[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def save_state(folder: Path, state: TrainingState, tensors: Mapping[str, Tensor]) -> TrainingState:
    """Write tensors, then `state.json`, then drop the tensors of the state before."""
    name = f"epoch{state.epoch:05d}-{state.rollbacks}.safetensors"
    data = save({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()})
    qat_artifacts.write_bytes(folder / name, data)
    state = attrs.evolve(state, tensors=name, tensors_sha256=qat_artifacts.sha256_file(folder / name))
    qat_artifacts.write(folder / "state.json", state)
    for old in (*folder.glob("epoch*.safetensors"), *folder.glob(".epoch*.tmp")):  # the latter: cut off while written
        if old.name != name:
            with contextlib.suppress(OSError):
                old.unlink()
    return state


def load_state(folder: Path) -> tuple[TrainingState, dict[str, Tensor]] | None:
    """The last state that was written whole, or None where there is none.

    Raises:
        InputError: `state.json` is there and its tensors are missing, damaged or other than it says.
    """
    path = folder / "state.json"
    if not path.exists():
        return None
    state = qat_artifacts.read(path, TrainingState)
    tensors = folder / Path(state.tensors).name  # beside it, whatever the record says
    if not tensors.is_file() or qat_artifacts.sha256_file(tensors) != state.tensors_sha256:
        raise InputError(f"{tensors}: missing or not the file that state.json names; remove {folder} to start over")
    return state, read_tensors(tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        InputError: it is damaged, or no such file.
    """
    try:
        found: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not read as safetensors, {error}") from error
    return found


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under "<prefix>.<key>"."""
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose key begins with "<prefix>.", without it."""
    start = f"{prefix}."
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
