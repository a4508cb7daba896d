"""A decision for people: every rule, met or not, with its runs and what would meet it."""

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from qat_artifacts import printable
from qat_gate.decision import Criterion, Decision, Settings

Style = Callable[[str, str], str]


def render(decision: Decision, style: Style = lambda text, _colour: text) -> str:
    """Lines of plain text; `style(text, colour)` may colour parts of them ("green", "red").

    What the summaries say stands in it without characters that a terminal would obey.
    """
    return "\n".join(_lines(_shown(decision), style))


def _shown(value: Any) -> Any:
    """The same record, its texts fit to be printed."""
    if isinstance(value, str):
        return " ".join(printable(value).split())
    if isinstance(value, tuple):
        return tuple(map(_shown, value))
    if attrs.has(type(value)):
        return attrs.evolve(
            value, **{field.name: _shown(getattr(value, field.name)) for field in attrs.fields(type(value))}
        )
    return value


def _lines(decision: Decision, style: Style) -> Iterator[str]:
    verdict = style("GO", "green") if decision.passed else style("NO-GO", "red")
    yield f"{decision.gate_name}: {verdict}: {decision.reason}"
    if decision.override is not None:
        yield style(f"OVERRIDDEN: {decision.override}", "red")
    yield ""
    yield f"evidence: {_settings(decision.evidence)}"
    if decision.requested is not None:
        yield f"asked for: {_settings(decision.requested)}"
    for criterion in decision.criteria:
        yield ""
        yield from _criterion(criterion, style)
    if decision.admitted or decision.notes:
        yield ""
    for run in decision.admitted:
        yield style(f"ADMITTED ALTHOUGH INCOMPLETE: {run}", "red")
    for note in decision.notes:
        yield f"note: {note}"


def _criterion(criterion: Criterion, style: Style) -> Iterator[str]:
    mark = style("met    ", "green") if criterion.met else style("NOT MET", "red")
    yield f"[{mark}] {criterion.id}: {criterion.text}"
    yield f"    why: {criterion.why}"
    yield f"    runs: {_grouped(criterion.runs) or 'none'}"
    for reason in criterion.reasons:
        yield f"    {reason.kind}: {reason.text}"
    if criterion.satisfied_by is not None:
        yield f"    satisfied by: {criterion.satisfied_by}"


def _grouped(runs: tuple[str, ...]) -> str:
    """Rows of one trajectory together: "n-seed0/{baseline, ema}, n-seed1/ema"."""
    rows: dict[str, list[str]] = {}
    for run in sorted(runs):
        trajectory, slash, row = run.rpartition("/")
        rows.setdefault(trajectory + slash, []).append(row)
    return ", ".join(
        f"{prefix}{found[0] if len(found) == 1 else '{' + ', '.join(found) + '}'}" for prefix, found in rows.items()
    )


def _settings(found: Settings) -> str:
    def listed(values: tuple[object, ...]) -> str:
        return " and ".join(map(str, values)) or "none"

    data = listed(tuple(name[:12] for name in found.fingerprints))
    return (
        f"profile {listed(found.profiles)}, data {data}, {listed(found.imgsz)} px, "
        f"quantization {listed(found.quantization)}, code {listed(found.code)}"
    )
