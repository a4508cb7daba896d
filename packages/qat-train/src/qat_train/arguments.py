"""Ultralytics' arguments for one of our runs."""

from pathlib import Path
from typing import Any

import torch

from qat_train.spec import RunSpec


def training_arguments(spec: RunSpec, *, data_yaml: Path, folder: Path, device: torch.device) -> dict[str, Any]:
    """Ultralytics' arguments, each one that matters named: another release's defaults must not change a result."""
    key = spec.training
    return {
        "task": "detect",
        "mode": "train",
        "model": "model.pt",  # never opened: the model is handed over
        "data": str(data_yaml),
        "epochs": key.epochs,
        "imgsz": key.imgsz,
        "batch": key.batch,
        "nbs": key.batch,  # no accumulation inside Ultralytics
        "lr0": key.lr0,
        "lrf": key.lrf,
        "cos_lr": False,
        "optimizer": key.optimizer,  # "auto" would ignore lr0
        "momentum": 0.937 if key.optimizer == "SGD" else 0.9,
        "weight_decay": key.weight_decay,
        "warmup_epochs": key.warmup_epochs,
        "warmup_bias_lr": 0.0,  # the stock 0.1 fakes a collapse in the first epochs
        "mosaic": key.mosaic,
        "close_mosaic": key.close_mosaic,
        "workers": key.workers,
        "amp": "bf16" if key.amp else False,  # True would download a model to check AMP with
        "device": _device(spec.training.device, device),
        "seed": spec.run.seed,
        "deterministic": True,
        "patience": 0,  # the series is never cut short
        "nms": False,
        "val": True,
        "save": True,
        "plots": False,
        "cache": False,
        "compile": False,
        "multi_scale": 0.0,
        "rect": False,
        "exist_ok": True,
        "save_dir": str(folder),
        "verbose": False,
    }


def _device(asked: str, device: torch.device) -> str:
    """All devices of a run: Ultralytics counts its ranks by the commas."""
    if device.type == "cpu":
        return "cpu"
    return asked if "," in asked else str(device.index or 0)
