"""A mixed policy within a budget: which layers get more bits, and the policy file that says so.

The choice is greedy by damage per extra bit, the classic heuristic for the knapsack problem. What it takes for granted:
damages of single layers add up, and a raised layer does no damage. Neither is exact, so the policy that comes out is
evaluated as a whole. A layer whose damage is not above 0 is never raised: more bits would repair nothing that was seen.
"""

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import attrs
from attrs import validators

from qat_train.errors import SpecError
from qat_train.policy import Policy, Rule
from qat_train.run import Evaluation

HALF_A_BIT = 0.5  # what a policy may add to its base where no budget is given


@attrs.frozen(kw_only=True)
class LayerSensitivity:
    """One layer quantized alone, all others in floating point.

    Attributes:
        name, type: its path and structural type.
        elements: weights.
        bits: the width it was quantized to.
        map50_95: mAP of the detector then, in [0, 1].
        damage: mAP of the floating-point detector less that; below 0 where the detector got better by chance.
        weight_error: ||w - ŵ||² / ||w||², tells apart layers whose damage ties on few images.
    """

    name: str
    type: str
    elements: int = attrs.field(validator=validators.ge(1))
    bits: int = attrs.field(validator=[validators.ge(2), validators.le(8)])
    map50_95: float = attrs.field(validator=[validators.ge(0.0), validators.le(1.0)])
    damage: float
    weight_error: float = attrs.field(validator=validators.ge(0.0))


@attrs.frozen(kw_only=True)
class MixedPolicy:
    """What policy.toml holds.

    Attributes:
        file: its name, beside sensitivity.json.
        base, high: widths in bits.
        budget, average, base_average: bits per quantized weight: allowed, reached, and without any raised layer.
        size_bytes, base_size_bytes: packed codes of the quantized layers, each filled up to a whole byte; scales and
            floating-point tensors come on top.
        raised: layers at the high width, most damage per bit first.
        evaluation: the detector with every layer quantized by this policy, not trained.
    """

    file: str
    base: int
    high: int
    budget: float
    average: float
    base_average: float
    size_bytes: int
    base_size_bytes: int
    raised: tuple[str, ...]
    evaluation: Evaluation


def average_bits(widths: Mapping[str, int], elements: Mapping[str, int]) -> float:
    """Bits per weight of the layers in `widths`, each counted by its elements."""
    return sum(bits * elements[name] for name, bits in widths.items()) / sum(elements[name] for name in widths)


def packed_bytes(widths: Mapping[str, int], elements: Mapping[str, int]) -> int:
    """Bytes of the packed codes, each layer filled up to a whole byte."""
    return sum(-(-bits * elements[name] // 8) for name, bits in widths.items())


def spare_bits(budget: float | None, widths: Mapping[str, int], elements: Mapping[str, int]) -> tuple[float, int]:
    """The budget, and how many bits of it are left once every layer has its width in `widths`.

    Args:
        budget: average bits per quantized weight; None allows half a bit more than `widths` needs.
        widths: bits of each quantized layer at the base.
        elements: weights of each layer.

    Raises:
        SpecError: the base alone needs more; the text says how much.
    """
    needed = average_bits(widths, elements)
    if budget is None:
        budget = needed + HALF_A_BIT
    if not math.isfinite(budget):
        raise SpecError(f"--budget must be a finite number of bits, found {budget}")
    weights = sum(elements[name] for name in widths)
    spare = math.floor(Fraction(repr(budget)) * weights) - sum(b * elements[n] for n, b in widths.items())
    if spare < 0:
        raise SpecError(
            f"--budget {budget:g}: the policy needs {math.ceil(needed * 1e4) / 1e4:.4f} bits per quantized weight at "
            "its base; give a larger budget, or fewer quantization.bits"
        )
    return budget, spare


def choose_raised(layers: Sequence[LayerSensitivity], *, high: int, spare: int) -> tuple[str, ...]:
    """Layers to raise to `high` bits for at most `spare` extra bits, most damage per extra bit first.

    A layer that no longer fits is passed over, and smaller ones after it may still fit: of the layers that are left out
    and have a damage above 0, none would fit into what remains. Ties go to the larger weight error, then to the name.
    """
    order = sorted(
        (layer for layer in layers if layer.damage > 0),
        key=lambda layer: (-layer.damage / _cost(layer, high), -layer.weight_error, layer.name),
    )
    raised = []
    for layer in order:
        if _cost(layer, high) <= spare:
            spare -= _cost(layer, high)
            raised.append(layer.name)
    return tuple(raised)


def _cost(layer: LayerSensitivity, high: int) -> int:
    return (high - layer.bits) * layer.elements


def render_policy(policy: Policy, raised: Sequence[str], *, high: int, comment: str) -> str:
    """policy.toml: the rules of `policy`, then one by name for each raised layer. `load_policy` reads it."""
    rules = [*policy.rules, *(Rule(name=name, bits=high) for name in raised)]
    lines = [f"# {line}" for line in comment.splitlines()]
    for rule in rules:
        keys = {
            "name": (rule.name, "*"),
            "place": (rule.place, "any"),
            "kind": (rule.kind, "any"),
            "max_share": (rule.max_share, 1.0),
        }
        lines += ["", "[[rule]]"]
        lines += [f"{key} = {json.dumps(value)}" for key, (value, default) in keys.items() if value != default]
        lines.append(f"bits = {json.dumps(rule.bits)}")
    return "\n".join(lines) + "\n"
