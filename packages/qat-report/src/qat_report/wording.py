"""Sentences that every page must say alike."""

import unicodedata
from collections.abc import Iterable, Sequence

from qat_report.comparison import GateOutcome
from qat_report.records import CorrectionStage
from qat_report.summary import RunSummary

SCOPE = (
    "Only weights are quantized here; activations stay floating point. The paper behind EMA and QC (Gupta and Asthana, "
    "WACV 2024, arXiv 2311.05109) quantizes weights and activations, per tensor: its numbers are not comparable with "
    "these."
)

OSCILLATION = (
    "Integer codes of the weights that are trained, not of their average, in the last tracked epoch. A code oscillates "
    "when it changes back against its last change; frequencies are smoothed over steps (Nagel et al., ICML 2022). A "
    "switch is by weight where the weight's own step changed the code, else by scale. Rows of one run share them."
)

EXPORTS = (
    "Bytes of the files that were written, 1 MB = 1,000,000 bytes. Latency is the median per image of ONNX Runtime on "
    "the CPU of whoever exported; a runtime that dequantizes on every call gains size, not speed. Folded: the weights "
    "are computed once, when the model is loaded."
)

_TURNS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_LONGEST = 400  # characters of a table cell; notes need some hundred


def visible(text: str) -> str:
    """One line, with a mark for characters that show nothing or turn the direction of a line, so that none can hide."""
    line = " ".join(text.split())
    if line.isascii() and line.isprintable():
        return line
    return "".join("\N{REPLACEMENT CHARACTER}" if _hides(character) else character for character in line)


def _hides(character: str) -> bool:
    bidirectional = unicodedata.bidirectional(character)
    return unicodedata.category(character) in ("Cc", "Cs") or bidirectional in _TURNS


def shorten(text: str) -> str:
    """A cell's text, its middle left out where it is too long to be read; both ends tell names apart."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


def motion(summary: RunSummary) -> str:
    """How scales move in training: learned, following the weights, or fixed."""
    if summary.quantization.scale.learned:
        return "learned"
    return "following" if "following" in summary.training.interventions else "fixed"


def per_tensor_scope(summaries: Iterable[RunSummary]) -> str | None:
    """What stands with rows that share the paper's granularity, and nothing else of its setting; None without any."""
    methods = dict.fromkeys(s.method.variant for s in summaries if s.quantization.granularity == "per-tensor")
    if not methods:
        return None
    return f"{', '.join(methods)}: per tensor like the paper, and still weights alone. {SCOPE}"


def after(stages: Sequence[CorrectionStage]) -> str:
    """Such as "after BN + QC"."""
    return f"after {' + '.join(stage.upper() for stage in stages)}"


def correction(summary: RunSummary) -> str:
    """What was done to the last epoch's weights."""
    qc, done = summary.method.qc, []
    if summary.artifacts.qc_json is None:
        return "none"
    if "bn" in qc.stages:
        done.append("BN statistics re-estimated")
    if "qc" in qc.stages:
        done.append(f"QC of {' and '.join(qc.trained)}, {qc.epochs} epoch, lr {qc.lr}")
    return "; then ".join(done)


def gate_sentence(gate: GateOutcome | None) -> str:
    """The decision in one line."""
    if gate is None:
        return "not evaluated"
    against = f" OVERRIDDEN: {gate.override}" if gate.override and not gate.passed else ""
    return f"{'GO' if gate.passed else 'NO-GO'}: {gate.reason}{against}"


def gate_details(gate: GateOutcome) -> list[str]:
    """Every criterion, and why it is not met."""
    lines = []
    for criterion in gate.criteria:
        reasons = "; ".join(reason.text for reason in criterion.reasons)
        lines.append(f"{'met' if criterion.met else 'NOT met'}: {criterion.text}{f' ({reasons})' if reasons else ''}")
    return lines + [f"note: {note}" for note in gate.notes]


def override_of(summary: RunSummary) -> str | None:
    """Why a run was started against the gate; None where it was not."""
    found = summary.training.overrides.get("gate.override")
    return found if isinstance(found, str) else None
