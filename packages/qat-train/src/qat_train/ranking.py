"""The record of a sensitivity scan, its table and its figure."""

from typing import ClassVar, Literal
from xml.sax.saxutils import escape

import attrs

from qat_train.environment import Git
from qat_train.mixed import LayerSensitivity, MixedPolicy
from qat_train.run import DatasetBlock, EvaluationBlock, ModelBlock, QuantizationBlock, References

SHOWN = 15  # layers in the table


@attrs.frozen(kw_only=True)
class Sensitivity:
    """sensitivity.json. Whole only with status "completed"; before, it holds the layers measured so far.

    `identity` is the SHA-256 of what the numbers depend on; `layers` are ranked, most damage first. `quantization` is
    what the specification's policy does, `references` what that costs when all its layers are quantized at once.
    """

    SCHEMA: ClassVar[str] = "qat-train/sensitivity"
    VERSION: ClassVar[str] = "1.0"

    status: Literal["running", "completed"]
    identity: str
    git: Git
    model: ModelBlock
    dataset: DatasetBlock
    quantization: QuantizationBlock
    evaluation: EvaluationBlock
    references: References
    layers: tuple[LayerSensitivity, ...]
    mixed: MixedPolicy | None
    versions: dict[str, str]
    seconds: float


def describe(record: Sensitivity) -> str:
    """The references, the worst layers and the mixed policy, as Markdown."""
    mixed, fp32, ptq = record.mixed, record.references.fp32, record.references.ptq
    assert mixed is not None
    assert fp32 is not None
    assert ptq is not None
    shown, rest = record.layers[:SHOWN], record.layers[SHOWN:]
    harmful = sum(layer.damage > 0 for layer in record.layers)
    lines = [
        f"# Sensitivity of {record.model.variant}: each layer alone at {mixed.base} bits",
        "",
        f"{record.dataset.val_images} validation images, {record.model.imgsz} px, "
        f"{record.quantization.granularity}, {record.quantization.scale.init} scales, nothing trained. "
        f"{len(record.layers)} layers, {harmful} of them with a damage above 0.",
        "",
        "| layer | type | weights | mAP50-95 | damage | weight error | bits in policy.toml |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for layer in shown:
        bits = mixed.high if layer.name in mixed.raised else layer.bits
        lines.append(
            f"| {layer.name} | {layer.type} | {layer.elements} | {layer.map50_95:.4f} | {layer.damage:+.4f} | "
            f"{layer.weight_error:.2e} | {bits} |"
        )
    if rest:
        lines += ["", f"{len(rest)} more layers, with a damage of {rest[0].damage:+.4f} and less: sensitivity.json."]
    lines += [
        "",
        "| all layers at once, not trained | bits per weight | bytes of codes | mAP50-95 |",
        "| --- | --- | --- | --- |",
        f"| FP32 | 32 | – | {fp32.map50_95:.4f} |",
        f"| the given policy | {mixed.base_average:.4f} | {mixed.base_size_bytes} | {ptq.map50_95:.4f} |",
        f"| policy.toml, {len(mixed.raised)} layers raised, of {mixed.budget:.4f} bits allowed | {mixed.average:.4f} | "
        f"{mixed.size_bytes} | {mixed.evaluation.map50_95:.4f} |",
        "",
        "policy.toml was chosen on these images, which flatters it here.",
    ]
    return "\n".join(lines) + "\n"


WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 320, 64, 40, 34  # pixels
COLOURS = {True: "#b3471d", False: "#6b8299"}  # raised or not; told apart by darkness too


def figure(record: Sensitivity) -> str:
    """Damage of each layer in the order of the model, raised layers marked, as an SVG file."""
    assert record.mixed is not None
    raised = set(record.mixed.raised)
    measured = {layer.name: layer for layer in record.layers}
    layers = [measured[layer.name] for layer in record.quantization.layers if layer.name in measured]
    high = max(0.0, *(layer.damage for layer in layers)) or 1e-4
    low = min(0.0, *(layer.damage for layer in layers))
    step = (WIDTH - LEFT - 10) / len(layers)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    title = f"{record.model.variant}: mAP50-95 lost with one layer alone at {record.mixed.base} bits"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>',
    ]
    for value in sorted({low, 0.0, high / 2, high}):
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#d0d0d0"/>'
            f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4f}</text>'
        )
    for i, layer in enumerate(layers):
        top, bottom = y(max(0.0, layer.damage)), y(min(0.0, layer.damage))
        parts.append(
            f'<rect x="{LEFT + i * step:.1f}" y="{top:.1f}" width="{step * 0.8:.1f}" height="{bottom - top:.1f}" '
            f'fill="{COLOURS[layer.name in raised]}"><title>{escape(layer.name)} {layer.damage:+.4f}</title></rect>'
        )
    parts.append(
        f'<text x="{LEFT}" y="{HEIGHT - 12}">{len(layers)} layers in the order of the model; dark red: raised to '
        f"{record.mixed.high} bits by policy.toml</text></svg>"
    )
    return "\n".join(parts) + "\n"
