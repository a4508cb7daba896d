"""What quantization alone costs: layer policies and scale initialisations side by side, with nothing trained."""

import itertools
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from qat_train.errors import SpecError
from qat_train.mixed import average_bits, packed_bytes
from qat_train.preparation import measure_references, prepare
from qat_train.run import Init
from qat_train.spec import RunSpec

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Untrained:
    """One choice. `bits_per_weight`: the average of quantized weights; `code_bytes`: of their packed codes, no scales.

    `layers` have a width, `wider_layers` of them one above the specification's. mAP50-95 of floating point and of the
    quantized model, in [0, 1], by the run's own evaluator on the validation images.
    """

    policy: str
    init: Init
    layers: int
    wider_layers: int
    bits_per_weight: float
    code_bytes: int
    fp32: float
    ptq: float


def compare(spec: RunSpec, *, policies: Sequence[str], inits: Sequence[Init], threads: int) -> Iterator[Untrained]:
    """Every policy under every initialisation, in that order; what `spec` says where a list is empty.

    Args:
        spec: data, checkpoint, bits, granularity; nothing is trained.
        policies: shipped ones by name, or TOML files.
        inits: how scales are set.
        threads: CPU threads.

    Raises:
        SpecError: nothing is quantized, or a policy is wrong.
        InputError: data or checkpoint cannot be used.
    """
    if not spec.quantization.enabled:
        raise SpecError("quantization.bits = 32 quantizes nothing; give 2 to 8 bits")
    pairs = itertools.product(policies or [spec.quantization.policy], inits or [spec.quantization.init])
    with tempfile.TemporaryDirectory() as folder:
        for policy, init in pairs:
            key = attrs.evolve(spec.quantization, policy=policy, init=init)
            yield _measure(attrs.evolve(spec, quantization=key), policy, init, Path(folder), threads)


def _measure(spec: RunSpec, policy: str, init: Init, folder: Path, threads: int) -> Untrained:
    prepared = prepare(spec, folder=folder, threads=threads)
    found = measure_references(prepared)
    assert found.fp32 is not None, "measured for every run"
    assert found.ptq is not None, "measured where something is quantized"
    widths = {name: bits for name, bits in prepared.bits.items() if bits is not None}
    elements = {layer.name: layer.elements for layer in prepared.quantization.layers}
    made = Untrained(
        policy=policy,
        init=init,
        layers=len(widths),
        wider_layers=sum(bits > spec.quantization.bits for bits in widths.values()),
        bits_per_weight=average_bits(widths, elements),
        code_bytes=packed_bytes(widths, elements),
        fp32=found.fp32.map50_95,
        ptq=found.ptq.map50_95,
    )
    logger.info("%s, %s: mAP50-95 %.4f at %.4f bits per weight", policy, init, made.ptq, made.bits_per_weight)
    return made


def describe(found: Sequence[Untrained]) -> str:
    """A table for people."""
    width = max(len("policy"), *(len(one.policy) for one in found))
    start = max(len("init"), *(len(one.init) for one in found))
    titles = f"{'policy':{width}}  {'init':{start}}  wider  bits/weight  code bytes  mAP50-95"
    lines = [f"FP32 {found[0].fp32:.4f}", titles]
    lines += [
        f"{one.policy:{width}}  {one.init:{start}}  {one.wider_layers:5}  {one.bits_per_weight:11.4f}  "
        f"{one.code_bytes:10}  {one.ptq:8.4f}"
        for one in found
    ]
    return "\n".join(lines)
