"""Rule 5's question: do runs share everything but their seed, their method and their variant?

Settings are the leaves of the summary's view, under their dotted names.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import qat_artifacts
from qat_gate.decision import Reason, ReasonKind
from qat_gate.summaries import RunSummary

EVERYWHERE = ("dataset", "evaluation", "metrics.primary_name", "model.imgsz", "quantization")
WITHIN_VARIANT = (
    "code",
    "model.checkpoint_sha256",
    "quantization.layers",  # another variant has other layers; their policy is what must agree
    "training.amp",
    "training.effective_batch",
    "training.epochs",
    "training.interventions",
    "training.ranks",  # how many devices: the batch norms of each see their share of a batch
)
WITHIN_METHOD = ("method.sets",)  # of whatever variant: what a method sets is its own definition
REPETITION = ("method.ema", "method.qc", "training.overrides")
# The only keys of the above in which a method may differ from the others: those that change training itself.
METHOD_MAY_SET = (
    "training.epochs",
    "training.effective_batch",
    "training.amp",
    "training.interventions",
    "quantization",
)
# Overrides that repetitions may differ in: the machine, where files lie, what came before and after the training; and
# those whose effect the summary states elsewhere, where it is compared.
_FREE_OVERRIDES = (
    *("training.device", "training.workers", "training.threads"),
    *("training.amp", "training.batch", "training.epochs", "training.imgsz"),
    *("data", "ema", "gate", "interventions", "model", "pretrain", "qc", "quantization"),
)
_NOT_SET = "not set"


def _below(name: str, keys: Iterable[str]) -> bool:
    return any(name == key or name.startswith(f"{key}.") for key in keys)


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(f"{prefix}.{name}" if prefix else name, inner)
    else:
        yield prefix, value


def code_version(versions: Mapping[str, str]) -> str:
    """The part of the training code's version that runs must share: the major; the minor too while the major is 0."""
    text = versions.get("qat-train", "unknown")
    match = re.match(r"(\d+)\.(\d+)", text)
    if match is None:
        return text
    return match[0] if match[1] == "0" else match[1]


def settings(run: RunSummary) -> dict[str, str]:
    """Everything that comparability looks at: dotted name to the JSON text of the value."""
    found = dict(_leaves("", qat_artifacts.unstructure(run)))
    found |= {"code": code_version(run.versions), "training.ranks": run.training.device.count(",") + 1}
    compared = (*EVERYWHERE, *WITHIN_VARIANT, *WITHIN_METHOD, *REPETITION)
    free = [f"training.overrides.{key}" for key in _FREE_OVERRIDES]
    names = [name for name in found if _below(name, compared) and not _below(name, free)]
    return {name: qat_artifacts.dumps(found[name]).strip() for name in names}


def _group(run: RunSummary, key: str) -> tuple[str, str]:
    """Runs with the same group must agree in `key`."""
    own = _below(key, (*REPETITION, *WITHIN_METHOD, *(k for k in run.method.sets if k in METHOD_MAY_SET)))
    variant = run.model.variant if _below(key, (*REPETITION, *WITHIN_VARIANT)) else ""
    return variant, run.method.variant if own else ""


def differences(runs: Iterable[RunSummary]) -> tuple[Reason, ...]:
    """One reason per setting and deviating value, sorted; the value that most runs share is the reference."""
    found = [(run, settings(run)) for run in sorted(runs, key=lambda run: run.run_id)]
    names = sorted({name for _, held in found for name in held})
    groups: dict[tuple[str, tuple[str, str]], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for run, held in found:
        for key in names:
            # A run that diverged has no correction, so no numbers of one; how others were corrected is nothing to it.
            if not (key.startswith("method.") and held[key] == "null"):
                groups[key, _group(run, key)][held.get(key, _NOT_SET)].append(run.run_id)
    reasons = []
    for (key, _), holders in sorted(groups.items()):
        # The most holders; of equally many, those that hold the first run id.
        (expected, _), *others = sorted(holders.items(), key=lambda item: (-len(item[1]), item[1][0]))
        for value, ids in others:
            text = f"{key} is {_short(value)} in {', '.join(ids)}; most runs have {_short(expected)}"
            kind: ReasonKind = "stale" if key == "code" else "not-comparable"
            reasons.append(Reason(kind=kind, text=text, runs=tuple(ids)))
    return tuple(reasons)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 40 else f"{flat[:16]}..."
