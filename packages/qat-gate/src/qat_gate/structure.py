"""What the evidence cannot show by its structure: layer types that one detector has and the others lack."""

from collections import Counter

from qat_gate.decision import LayerType
from qat_gate.evidence import Evidence
from qat_gate.summaries import Layer


def layer_types(evidence: Evidence) -> tuple[LayerType, ...]:
    """Quantized layers by structural type: how many each variant of the policy has, and the run asked for.

    Empty where no request names its layers, or no run counts.
    """
    asked = evidence.request
    if asked is None or not asked.quantization.layers:
        return ()
    counts = {run.model.variant: _count(run.quantization.layers) for run in reversed(evidence.required())}
    if not counts:
        return ()
    counts[asked.model.variant] = _count(asked.quantization.layers)
    types = sorted({name for found in counts.values() for name in found})
    return tuple(LayerType(type=name, counts={v: found[name] for v, found in sorted(counts.items())}) for name in types)


def warnings(types: tuple[LayerType, ...], asked: str) -> list[str]:
    """What only one side has, in words; whoever opens a run on this evidence should know."""
    others = sorted({variant for entry in types for variant in entry.counts} - {asked})
    if not others:
        return []
    names = " and ".join(others)
    alone = [entry.type for entry in types if not any(entry.counts[v] for v in others)]
    missing = [
        f"{entry.type} ({', '.join(f'{entry.counts[v]} in {v}' for v in others)})"
        for entry in types
        if not entry.counts[asked]
    ]
    found = []
    if alone:
        found.append(
            f"structure: quantized layer types of {asked} that the evidence ({names}) lacks: {', '.join(alone)}"
        )
    if missing:
        found.append(f"structure: quantized layer types of {names} that {asked} lacks: {', '.join(missing)}")
    return found


def _count(layers: tuple[Layer, ...]) -> Counter[str]:
    return Counter(layer.type for layer in layers if layer.bits is not None)
