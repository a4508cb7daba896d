"""Where a final value comes from: FP32 -> PTQ -> raw weights -> EMA -> BN re-estimation and QC, step by step.

Both ends of a step belong to one training run: a step holds nothing but itself. The raw weights' own corrections stand
beside those of the averaged ones.
"""

from collections.abc import Mapping, Sequence

from qat_report.cells import counted, final
from qat_report.comparison import Attribution, AttributionStep
from qat_report.grouping import Entry
from qat_report.numbers import count, delta, interval
from qat_report.paired import pair
from qat_report.verdict import names_side

_REFERENCES = ("fp32", "ptq")
_STEPS = (
    ("fp32", "ptq"),
    ("ptq", "baseline"),
    ("baseline", "bn"),
    ("baseline", "qc"),
    ("baseline", "ema"),
    ("ema", "ema+bn"),
    ("ema", "ema+qc"),
    ("ema+bn", "ema+bn+qc"),
    ("ema+qc", "ema+bn+qc"),
)
_CHAIN = {method for step in _STEPS for method in step} - set(_REFERENCES)

# The final values, and references, of one trajectory: seed, and value by name.
_Values = tuple[int, Mapping[str, float]]


def attribute(usable: Sequence[Entry]) -> list[Attribution]:
    """The attribution of a variant from its comparable runs.

    Empty unless one trajectory holds `ema` and one of `ema+bn` and `ema+qc`, and both count.
    """
    values = _by_trajectory(usable)
    if not any("ema" in held and held.keys() & {"ema+bn", "ema+qc"} for _, held in values):
        return []
    steps = [_step(start, end, values) for start, end in _STEPS]
    return [
        Attribution(
            variant=usable[0].summary.model.variant,
            steps=tuple(step for step in steps if step is not None),
            explained=_explained(values),
        )
    ]


def _by_trajectory(usable: Sequence[Entry]) -> list[_Values]:
    runs: dict[str, list[Entry]] = {}
    for entry in usable:
        if entry.method in _CHAIN and counted(entry):
            runs.setdefault(entry.summary.trajectory_id, []).append(entry)
    values: list[_Values] = []
    for entries in runs.values():
        metrics = entries[0].summary.metrics
        references = {"fp32": metrics.fp32, "ptq": metrics.ptq}
        known = {name: value for name, value in references.items() if value is not None}
        values.append((entries[0].seed, known | {entry.method: final(entry) for entry in entries}))
    return values


def _differences(start: str, end: str, values: Sequence[_Values]) -> dict[int, float]:
    return {seed: held[end] - held[start] for seed, held in values if start in held and end in held}


def _step(start: str, end: str, values: Sequence[_Values]) -> AttributionStep | None:
    differences = _differences(start, end, values)
    if not differences:
        return None
    found = pair(differences)
    shared = end in _REFERENCES and len(set(differences.values())) == 1
    return AttributionStep(
        start=start,
        end=end,
        n=found.n,
        mean=found.mean,
        interval=None if shared else found.interval,
        differences=found.differences,
    )


def _explained(values: Sequence[_Values]) -> str:
    """One sentence from the trajectories that hold `ema`, `ema+bn` and `ema+qc`."""
    common = [(seed, held) for seed, held in values if held.keys() >= {"ema", "ema+bn", "ema+qc"}]
    if not common:
        return (
            "How much of QC's gain BN re-estimation explains is not measured: no trajectory has ema, ema+bn and ema+qc."
        )
    by_bn, by_qc = (pair(_differences("ema", method, common)) for method in ("ema+bn", "ema+qc"))
    both = (
        f"over {count(by_qc.n, 'seed')}, QC changes EMA by {delta(by_qc.mean)}{interval(by_qc.interval)} and "
        f"BN re-estimation alone by {delta(by_bn.mean)}{interval(by_bn.interval)}"
    )
    if by_qc.mean <= 0.0:
        return f"QC has no gain to explain: {both}."
    unshown = [name for name, found in (("QC's", by_qc), ("BN's", by_bn)) if not names_side(found)]
    doubt = f"; with n = {by_qc.n}, {' and '.join(unshown)} own difference cannot be shown" if unshown else ""
    if by_bn.mean <= 0.0:
        return f"BN re-estimation explains none of QC's gain: {both}{doubt}."
    if by_bn.mean >= by_qc.mean:
        return f"BN re-estimation alone gains as much as QC or more: {both}{doubt}."
    return f"BN re-estimation explains {by_bn.mean / by_qc.mean:.0%} of QC's mean gain: {both}{doubt}."
