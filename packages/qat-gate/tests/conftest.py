"""Run summaries as qat-report writes them, and the policy the tests decide by."""

import hashlib
import json
from pathlib import Path

import attrs
import pytest

import qat_artifacts
from qat_gate import Request, RunSummary, read_policy

POLICY = Path(__file__).parent / "golden" / "policy.toml"
HEALTHY = (0.10, 0.22, 0.31, 0.35, 0.38, 0.40)
# A history, and events, that show a finding and no other one.
SHOWING = {
    "diverged": (0.10, 0.22, 0.31, 0.35, 0.38, None),
    "collapsed": (0.10, 0.22, 0.38, 0.40, 0.31, 0.10),
    "no-signal": (0.01, 0.011, 0.012, 0.013, 0.014, 0.015),
    "frozen-metric": (0.10, 0.22, 0.31, 0.40, 0.40, 0.40),
    "insufficient": (0.10, 0.22, 0.31, 0.40),
    "recovered": HEALTHY,
}


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def make_raw(variant="yolo10n", method="ema+qc", seed=0, *, values=HEALTHY, findings=(), status=None, **changes):
    """A whole run_summary.json as a dict. `changes` replaces values under dotted keys written with two underscores."""
    if findings and values is HEALTHY:
        values = SHOWING[findings[0]]
    rollback = [{"epoch": 2, "kind": "rollback", "detail": "to epoch 1"}] if "recovered" in findings else []
    numbers = [value for value in values if value is not None]
    best = max(numbers, default=None)
    status = status or ("completed-failed" if findings else "completed-success")
    unfinished = status in ("incomplete", "refused")
    averaged, corrected = method != "baseline", method == "ema+qc"
    average = (0.5, 0.4, 2.0) if averaged else (None,) * 3
    correction = (1, 1e-4, True) if corrected and numbers == list(values) else (None,) * 3  # one that diverged has none
    raw = {
        "schema": "qat-report/run-summary",
        "version": "1.0",
        "created_by": "qat-report 0.1.0",
        "inputs": [],
        "run_id": f"{variant}-w4-seed{seed}/{method}",
        "trajectory_id": f"{variant}-w4-seed{seed}",
        "created_at": "2026-01-01T00:00:00Z",
        "git": {"commit": None, "branch": None, "dirty": None},
        "model": {
            "variant": variant,
            "checkpoint": f"{variant}.pt",
            "checkpoint_sha256": digest(variant),
            "imgsz": 320,
        },
        "quantization": {
            "mode": "w4a16",
            "library": "nvidia-modelopt",
            "weight_bit_width": 4,
            "activation_bit_width": None,
            "granularity": "per-channel",
            "scale": {"init": "mse", "learned": False},
            "policy": "default",
            "layers": [{"name": f"{variant}.0.conv", "type": "Conv2d", "bits": 8, "elements": 432}],
        },
        "method": {
            "variant": method,
            "ema": {"enabled": averaged} | dict(zip(("decay", "tau", "window_steps"), average, strict=True)),
            "qc": {"enabled": corrected} | dict(zip(("epochs", "lr", "bn_stats_fixed"), correction, strict=True)),
            "sets": [],
        },
        "dataset": {
            "coco_root": "coco",
            "dataset_yaml": "data.yaml",
            "fingerprint": digest("data"),
            "selection": {
                "data_seed": 0,
                "train": "hash",
                "val": "first",
                "train_images_requested": 256,
                "val_images_requested": 64,
            },
            "train_images": 256,
            "val_images": 64,
            "val_fingerprint": digest("val"),
            "classes": ["cat", "dog"],
        },
        "training": {
            "framework": "ultralytics",
            "epochs": 6,
            "batch": 16,
            "effective_batch": 16,
            "steps_per_epoch": 16,
            "seed": seed,
            "data_seed": 0,
            "device": "cpu",
            "amp": False,
            "workers": 0,
            "threads": 2,
            "optimizer": "AdamW",
            "overrides": {"profile": "short"},
        },
        "evaluation": {
            "evaluator": "ultralytics",
            "head": "one2one",
            "split": "val",
            "conf": 0.001,
            "iou": 0.7,
            "max_det": 300,
            "precision": "fp32",
            "weights_sha256": digest(f"{variant}{method}{seed}"),
        },
        "artifacts": {
            "run_root": "../../..",
            "run_json": "../../../trajectories/run.json",
            "metrics": "../../../trajectories/metrics.jsonl",
            "results_csv": "results.csv",
            "summary_md": "summary.md",
            "qc_json": None,
        },
        "metrics": {
            "primary_name": "metrics/mAP50-95(B)",
            "best_value": best,
            "best_epoch": None if best is None else values.index(best) + 1,
            "final_value": values[-1] if values else None,
            "fp32": 0.44,
            "ptq": 0.07,
            "history": [
                {"epoch": i, "value": value, "weights_sha256": digest(f"{variant}{seed}/{i}"), "stage": "qat"}
                for i, value in enumerate(values, start=1)
            ],
        },
        "stability": {
            "collapse_threshold_ratio": 0.5,
            "final_over_best_ratio": None,
            "collapsed": bool(unfinished or not numbers or values[-1] is None or "collapsed" in findings),
            "class": status if unfinished else (findings[0] if findings else "stable"),
            "findings": list(findings),
            "reasons": [],
            "events": rollback,
            "not_checked": [],
        },
        "versions": {"qat-train": "0.1.0", "torch": "2.14.1"},
        "status": status,
        "error": None,
    }
    for name, value in changes.items():
        *parents, last = name.rstrip("_").split("__")
        block = raw
        for parent in parents:
            block = block[parent]
        block[last] = value
    return raw


def view(raw):
    body = {key: value for key, value in raw.items() if key not in ("schema", "version", "created_by", "inputs")}
    return qat_artifacts.structure(body, RunSummary, strict=False)


@pytest.fixture(scope="session")
def make():
    """Build one summary as the gate sees it."""
    return lambda *args, **kwargs: view(make_raw(*args, **kwargs))


@pytest.fixture(scope="session")
def ladder(make):
    """Build the evidence a GO needs: two variants, three methods, the seeds asked for."""
    return lambda seeds=(0, 1): [
        make(variant, method, seed)
        for variant in ("yolo10n", "yolo10s")
        for method in ("baseline", "ema", "ema+qc")
        for seed in seeds
    ]


@pytest.fixture(scope="session")
def policy():
    return read_policy(POLICY)


@pytest.fixture(scope="session")
def request_for():
    """The yolo10m run that `ladder` is evidence for; `changes` as in make_raw."""

    def build(**changes):
        evidence = make_raw()
        raw = {
            "profile": "short",
            "drawn": False,
            "model": {"variant": "yolo10m", "imgsz": 320},
            "quantization": evidence["quantization"],
            "dataset": {"fingerprint": digest("data")},
            "versions": {"qat-train": "0.1.3"},
        }
        for name, value in changes.items():
            *parents, last = name.split("__")
            block = raw
            for parent in parents:
                block[parent] = block = dict(block[parent])
            block[last] = value
        return qat_artifacts.structure(raw, Request, strict=False)

    return build


@pytest.fixture(scope="session")
def changed(policy):
    """The policy with some fields replaced."""
    return lambda **changes: attrs.evolve(policy, **changes)


@pytest.fixture
def save(tmp_path):
    """Write summaries under a run root as the ladder lays them out; returns the root."""

    def write(*raws, root="root"):
        for raw in raws:
            method = raw["method"]["variant"].replace("+", "-")
            folder = tmp_path / root / raw["model"]["variant"] / method / f"seed{raw['training']['seed']}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "run_summary.json").write_text(json.dumps(raw), encoding="utf-8")
        (tmp_path / root).mkdir(exist_ok=True)
        return tmp_path / root

    return write


@pytest.fixture(scope="session")
def raw():
    return make_raw
