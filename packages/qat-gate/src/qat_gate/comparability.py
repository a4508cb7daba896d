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
)


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
    found = dict(_leaves("", qat_artifacts.unstructure(run))) | {"code": code_version(run.versions)}
    names = [name for name in found if _below(name, (*EVERYWHERE, *WITHIN_VARIANT))]
    return {name: qat_artifacts.dumps(found[name]).strip() for name in names}


def _group(run: RunSummary, key: str) -> tuple[str, str]:
    """Runs with the same group must agree in `key`."""
    variant = run.model.variant if _below(key, WITHIN_VARIANT) else ""
    return variant, run.method.variant if _below(key, run.method.sets) else ""


def differences(runs: Iterable[RunSummary]) -> tuple[Reason, ...]:
    """One reason per setting and deviating value, sorted; the value that most runs share is the reference."""
    groups: dict[tuple[str, tuple[str, str]], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: run.run_id):
        for key, value in settings(run).items():
            groups[key, _group(run, key)][value].append(run.run_id)
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
