"""Run summaries as many training runs leave them, made from the golden file of qat-report."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

METHODS = ("baseline", "bn", "qc", "ema", "ema+bn", "ema+qc", "learned", "learned+ema", "dampening", "freezing")
_EPOCHS = 12


def golden(project: Path) -> Path:
    """The summary that the others are made from; part of the repository, not of a package."""
    return project / "packages" / "qat-report" / "tests" / "fixtures" / "run_summary-1.0.json"


def write_summaries(root: Path, base: dict[str, Any], number: int) -> None:
    """Write `number` summaries below `root`: two variants, ten methods, and as many seeds as it takes."""
    for place in range(number):
        variant = ("yolo10n", "yolo10s")[place % 2]
        method = METHODS[place // 2 % len(METHODS)]
        folder = root / variant / method.replace("+", "-") / f"seed{place // (2 * len(METHODS))}"
        folder.mkdir(parents=True)
        document = _summary(base, variant, method, place // (2 * len(METHODS)))
        (folder / "run_summary.json").write_text(json.dumps(document), encoding="utf-8")
        (folder / "summary.md").write_text("Gate decision: not evaluated\n", encoding="utf-8")


def _summary(base: dict[str, Any], variant: str, method: str, seed: int) -> dict[str, Any]:
    found = copy.deepcopy(base)
    parts = method.split("+")
    stages = [stage for stage in ("bn", "qc") if stage in parts]
    values = [
        (0.1 + 0.025 * epoch + 0.001 * ((7 * seed + 3 * METHODS.index(method) + epoch) % 11), "qat")
        for epoch in range(_EPOCHS)
    ]
    values += [(values[-1][0], "qc")] * bool(stages)
    history: list[dict[str, Any]] = [
        {"epoch": epoch, "value": value, "stage": stage, "weights_sha256": _hash(f"{variant}{method}{seed}/{epoch}")}
        for epoch, (value, stage) in enumerate(values, 1)
    ]
    best = max(history, key=lambda point: point["value"])
    found |= {"run_id": f"{variant}/seed{seed}/{method}", "trajectory_id": f"{variant}/seed{seed}"}
    found["model"] |= {"variant": variant, "checkpoint": f"{variant}.pt", "checkpoint_sha256": _hash(variant)}
    found["method"] |= {"variant": method}
    found["method"]["ema"] |= {"enabled": "ema" in parts}
    found["method"]["qc"] |= {"enabled": "qc" in stages, "stages": stages}
    found["training"] |= {"seed": seed}
    found["evaluation"] |= {"weights_sha256": history[-1]["weights_sha256"]}
    found["metrics"] |= {
        "history": history,
        "best_value": best["value"],
        "best_epoch": best["epoch"],
        "final_value": history[-1]["value"],
    }
    found["stability"] |= {"final_over_best_ratio": history[-1]["value"] / best["value"]}
    return found


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
