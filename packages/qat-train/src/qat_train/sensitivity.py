"""Which layers cannot bear few bits: every convolution quantized alone, the detector evaluated each time."""

import copy
import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch

import qat_artifacts
from qat_train.detector import convolution_sites
from qat_train.environment import git_state, versions
from qat_train.errors import ResourceError, SpecError
from qat_train.insertion import active_quantizers, initialise_scales, insert_quantizers, layer_codes, layer_scale
from qat_train.mixed import (
    LayerSensitivity,
    MixedPolicy,
    average_bits,
    choose_raised,
    packed_bytes,
    render_policy,
    spare_bits,
)
from qat_train.policy import Policy, assign_bits, deciding_bits, load_policy
from qat_train.preparation import Prepared, measure_references, prepare
from qat_train.ranking import Sensitivity, describe, figure
from qat_train.run import Evaluation, ModelBlock, References
from qat_train.spec import RunSpec

logger = logging.getLogger(__name__)

FILE, POLICY, TABLE, FIGURE = "sensitivity.json", "policy.toml", "summary.md", "damage.svg"


@attrs.frozen(kw_only=True)
class _Plan:
    """What a scan has to do, known before the first evaluation."""

    policy: Policy
    candidates: tuple[str, ...]  # layers at the base width, in the order of the model
    widths: dict[str, int]  # of every quantized layer, at the base
    elements: dict[str, int]
    budget: float
    spare: int


def scan(spec: RunSpec, out: Path, *, bits_high: int, budget: float | None, threads: int) -> Sensitivity:
    """Measure every layer that the policy quantizes at the base width, then write a mixed policy within the budget.

    A scan that was cut off continues in the same folder; one that is finished is evaluated with its new policy alone.

    Args:
        spec: data, checkpoint, bits, granularity, scale initialisation and policy; nothing is trained.
        out: folder for sensitivity.json, policy.toml and summary.md.
        bits_high: width of the layers that are raised, above the specification's bits.
        budget: average bits per quantized weight; None allows half a bit more than the policy needs.
        threads: CPU threads for torch.

    Raises:
        SpecError: widths, budget or policy do not fit together, or `out` holds a scan of something else.
        InputError, ResourceError: as in a run.
    """
    key = spec.quantization
    if not key.enabled or bits_high <= key.bits:
        raise SpecError(
            f"--bits-high {bits_high} must be above quantization.bits, which is {key.bits}"
            if key.enabled
            else "quantization.bits = 32 quantizes nothing; set 2 to 7"
        )
    if key.init not in ("max", "mse"):  # calibration sets one layer by what the others hand on
        raise SpecError(f"quantization.init = {key.init!r}: a layer is quantized alone here; set max or mse")
    with _memory():
        if key.quantizer != "qat-train":
            raise SpecError(
                f"quantization.quantizer = {key.quantizer!r}: damage is measured on our own grid, 'qat-train'"
            )
        prepared = prepare(spec, folder=out / "ultralytics", threads=threads)
        plan = _plan(prepared, budget)
        record = _previous(out, _record(prepared))
        record = _measure(record, prepared, plan, out)
        return _finish(record, prepared, plan, out, bits_high)


@contextmanager
def _memory() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ResourceError(f"out of memory: {str(error).splitlines()[0]}; set a smaller training.batch") from error


def _plan(prepared: Prepared, budget: float | None) -> _Plan:
    policy = load_policy(prepared.spec.quantization.policy)
    deciding = deciding_bits(policy, convolution_sites(prepared.model))
    candidates = tuple(name for name, bits in deciding.items() if bits == "base")
    if not candidates:
        raise SpecError(f'quantization.policy = {prepared.spec.quantization.policy!r} gives no layer bits = "base"')
    widths = {name: bits for name, bits in prepared.bits.items() if bits is not None}
    elements = {layer.name: layer.elements for layer in prepared.quantization.layers}
    allowed, spare = spare_bits(budget, widths, elements)
    return _Plan(policy=policy, candidates=candidates, widths=widths, elements=elements, budget=allowed, spare=spare)


def _record(prepared: Prepared) -> Sensitivity:
    """sensitivity.json as it is before the first layer; its references are not measured yet."""
    spec = prepared.spec
    model = ModelBlock(
        variant=spec.model.variant,
        checkpoint=spec.model.checkpoint,
        checkpoint_sha256=prepared.detector.sha256,
        imgsz=spec.training.imgsz,
        parameters=sum(parameter.numel() for parameter in prepared.model.parameters()),
        class_match=prepared.class_match,
    )
    depends_on = [
        model.checkpoint_sha256,
        model.imgsz,
        prepared.data.view.fingerprint,
        qat_artifacts.unstructure(prepared.quantization),
        qat_artifacts.unstructure(prepared.evaluation),
    ]
    return Sensitivity(
        status="running",
        identity=hashlib.sha256(qat_artifacts.dumps(depends_on).encode()).hexdigest(),
        git=git_state(Path(__file__).parent),
        model=model,
        dataset=prepared.data.describe(),
        quantization=prepared.quantization,
        evaluation=prepared.evaluation,
        references=References(fp32=None, ptq=None),
        layers=(),
        mixed=None,
        versions=versions(),
        seconds=0.0,
    )


def _previous(out: Path, fresh: Sensitivity) -> Sensitivity:
    """What `out` holds of this scan, or `fresh`."""
    if not (out / FILE).exists():
        return fresh
    known = qat_artifacts.read(out / FILE, Sensitivity)
    if known.identity != fresh.identity:
        raise SpecError(f"{out} holds a scan of another specification; give another folder")
    return attrs.evolve(known, status="running", mixed=None)


def _measure(record: Sensitivity, prepared: Prepared, plan: _Plan, out: Path) -> Sensitivity:
    """Measure what is missing; the record is written after every layer."""

    def keep(changed: Sensitivity) -> Sensitivity:
        qat_artifacts.write(out / FILE, changed, inputs=[prepared.data.path])
        return changed

    if record.references.fp32 is None:
        record = keep(attrs.evolve(record, references=measure_references(prepared)))
    assert record.references.fp32 is not None
    float_map = record.references.fp32.map50_95
    known = {layer.name: layer for layer in record.layers}
    missing = [name for name in plan.candidates if name not in known]
    if known:
        logger.info("%d of %d layers are measured already", len(plan.candidates) - len(missing), len(plan.candidates))
    types = {layer.name: layer.type for layer in prepared.quantization.layers}
    started, before = time.monotonic(), record.seconds
    for number, (name, weight_error, point) in enumerate(_alone(prepared, missing), start=1):
        known[name] = LayerSensitivity(
            name=name,
            type=types[name],
            elements=plan.elements[name],
            bits=plan.widths[name],
            map50_95=point.map50_95,
            damage=float_map - point.map50_95,
            weight_error=weight_error,
        )
        elapsed = time.monotonic() - started
        record = keep(attrs.evolve(record, layers=_ranked(known, plan), seconds=before + elapsed))
        logger.info(
            "layer %d/%d  %s  mAP50-95 %.4f  damage %+.4f  about %d s left",
            len(plan.candidates) - len(missing) + number,
            len(plan.candidates),
            name,
            point.map50_95,
            known[name].damage,
            round(elapsed / number * (len(missing) - number)),
        )
    return attrs.evolve(record, layers=_ranked(known, plan))


def _ranked(known: Mapping[str, LayerSensitivity], plan: _Plan) -> tuple[LayerSensitivity, ...]:
    measured = (known[name] for name in plan.candidates if name in known)
    return tuple(sorted(measured, key=lambda layer: (-layer.damage, -layer.weight_error)))


def _alone(prepared: Prepared, names: list[str]) -> Iterator[tuple[str, float, Evaluation]]:
    """(layer, weight error, evaluation) with that layer quantized and all others in floating point.

    Quantizers are inserted once and switched on one at a time: a disabled one passes its weight on untouched.
    """
    if not names:
        return
    key = prepared.spec.quantization
    model = copy.deepcopy(prepared.model)
    insert_quantizers(model, {n: key.bits if n in names else None for n in prepared.bits}, key.granularity)
    initialise_scales(model, key.init)
    layers = {name: (conv, quantizer) for name, conv, quantizer in active_quantizers(model)}
    for _, quantizer in layers.values():
        quantizer.disable()
    for name in names:
        conv, quantizer = layers[name]
        quantizer.enable()
        yield name, weight_error(conv, quantizer), prepared.evaluator(model, quantized_layers=1)
        quantizer.disable()


@torch.no_grad()
def weight_error(conv: Any, quantizer: Any) -> float:
    """||w - ŵ||² / ||w||² of one layer, 0 for a layer of zeros."""
    weight = conv.weight.double()
    rounded = layer_codes(conv, quantizer).double() * layer_scale(quantizer).double()
    size = float(weight.square().sum())
    return float((weight - rounded).square().sum()) / size if size else 0.0


def _finish(record: Sensitivity, prepared: Prepared, plan: _Plan, out: Path, high: int) -> Sensitivity:
    """Choose, write and evaluate the mixed policy."""
    key = prepared.spec.quantization
    raised = choose_raised(record.layers, high=high, spare=plan.spare)
    widths = plan.widths | dict.fromkeys(raised, high)
    average, base_average = (average_bits(w, plan.elements) for w in (widths, plan.widths))
    size, base_size = (packed_bytes(w, plan.elements) for w in (widths, plan.widths))
    comment = (
        f"{prepared.spec.model.variant}: policy {plan.policy.name!r}, and the {len(raised)} layers of most damage per "
        f"extra bit raised to {high} bits.\nChosen by `qat-train sensitivity` for quantization.bits = {key.bits}: "
        f"{average:.4f} bits per quantized weight of\n{plan.budget:.4f} allowed ({base_average:.4f} without a raised "
        f"layer), {size} bytes of packed codes. Layer names belong to this architecture alone."
    )
    qat_artifacts.write_text(out / POLICY, render_policy(plan.policy, raised, high=high, comment=comment))
    model = copy.deepcopy(prepared.model)
    bits = assign_bits(load_policy(str(out / POLICY)), convolution_sites(model), key.bits)
    insert_quantizers(model, bits, key.granularity)
    initialise_scales(model, key.init)
    mixed = MixedPolicy(
        file=POLICY,
        base=key.bits,
        high=high,
        budget=plan.budget,
        average=average,
        base_average=base_average,
        size_bytes=size,
        base_size_bytes=base_size,
        raised=raised,
        evaluation=prepared.evaluator(model, quantized_layers=len(widths)),
    )
    record = attrs.evolve(record, status="completed", mixed=mixed)
    qat_artifacts.write_text(out / TABLE, describe(record))
    qat_artifacts.write_text(out / FIGURE, figure(record))
    qat_artifacts.write(out / FILE, record, inputs=[prepared.data.path, out / POLICY])
    return record
