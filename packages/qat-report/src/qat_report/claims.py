"""The claim ledger: the answers that head a report and every sentence of its verdict, with the rows they rest on."""

from collections.abc import Collection, Sequence

import attrs

from qat_report.comparison import Cell, Claim, GateOutcome, PairedDelta
from qat_report.grouping import Entry
from qat_report.methods import STANDING
from qat_report.numbers import count, delta, interval
from qat_report.verdict import FEWEST_SEEDS, agreeing, few_agree, names_side
from qat_report.wording import gate_sentence

START, HELP, CERTAINTY = "start", "help", "certainty"  # ids of the answers
_QUESTION, _GATED = "May yolo10m start?", "yolo10m"
_SUBJECT = STANDING[-1]
_NAMED = 6  # rows that are not stable; more are counted


def build_claims(
    entries: Sequence[Entry],
    cells: Sequence[Cell],
    verdict: Sequence[str],
    *,
    gate: GateOutcome | None,
    decided: Collection[str],
) -> list[Claim]:
    """The answers, then one claim per sentence of `verdict`.

    Args:
        entries: in the order of the rows.
        cells: methods of variants.
        verdict: a sentence for each of `cells`.
        gate: what it decided, as of now.
        decided: paths of the summaries that it decided on.
    """
    answers = [
        _claim(START, _start(gate), [e for e in entries if e.path in decided], question=_QUESTION),
        _claim(
            HELP,
            _help(cells),
            [e for e in entries if e.method in (STANDING[0], _SUBJECT)],
            question="Does EMA+QC help?",
        ),
        _claim(CERTAINTY, _certainty(entries, cells), entries, question="How sure is this?"),
    ]
    sentences = [
        _claim(f"{cell.variant}/{cell.method}", text, _support(cell, entries))
        for cell, text in zip(cells, verdict, strict=True)
    ]
    return answers + sentences


def _claim(name: str, text: str, rows: Sequence[Entry], question: str | None = None) -> Claim:
    return Claim(id=name, question=question, text=text, rows=tuple(entry.summary.run_id for entry in rows))


def as_of_now(gate: GateOutcome, entries: Sequence[Entry], decided: Collection[str]) -> GateOutcome:
    """The decision; where rows came or changed after it, its reason says so wherever it is read."""
    # The gated variant runs after the decision; whatever else is there should have been part of it.
    since = [entry for entry in entries if entry.path not in decided and entry.variant != _GATED]
    late = f"; decided without {count(len(since), 'row')} that came or changed since, decide again" if since else ""
    return attrs.evolve(gate, reason=f"{gate.reason}{late}")


def _start(gate: GateOutcome | None) -> str:
    return gate_sentence(gate) if gate else "Not evaluated: no gate has decided on these rows."


def _help(cells: Sequence[Cell]) -> str:
    found = [cell for cell in cells if cell.method == _SUBJECT]
    if not found:
        return f"Not measured: no row is {_SUBJECT}."
    return " ".join(f"{cell.variant}: {_answer(cell.delta_baseline)}" for cell in found)


def _answer(paired: PairedDelta | None) -> str:
    if paired is None:
        return "cannot be said, for no seed pairs it with a baseline that counts."
    seeds = count(paired.n, "seed")
    change = f"{delta(paired.mean)}{interval(paired.interval)}"
    if paired.n < FEWEST_SEEDS:
        return f"cannot be said from {seeds} ({change})."
    if not names_side(paired):
        return f"no difference can be shown ({change}, {seeds})."
    share = "all" if agreeing(paired) == paired.n else str(agreeing(paired))
    doubt = " (few seeds)" if few_agree(paired) else ""
    side = "yes" if paired.mean > 0.0 else "no, it harms"
    return f"{side}, {change} against the baseline, in {share} of {seeds}{doubt}."


def _certainty(entries: Sequence[Entry], cells: Sequence[Cell]) -> str:
    runs = {entry.summary.trajectory_id for entry in entries}
    stable = sum(entry.summary.stability.run_class == "stable" for entry in entries)
    others = [
        f"{entry.summary.run_id} {entry.summary.stability.run_class}"
        for entry in entries
        if entry.summary.stability.run_class != "stable"
    ]
    more = [f"{len(others) - _NAMED} more"] if len(others) > _NAMED else []
    named = f" ({', '.join([*others[:_NAMED], *more])})" if others else ""
    seeds = sorted({len(cell.classes) for cell in cells})
    span = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    noun = "seed" if seeds == [1] else "seeds"
    said = (
        f"{stable} of {count(len(entries), 'row')} stable{named}, from {count(len(runs), 'training run')}; "
        f"{span} comparable {noun} of each method."
    )
    if seeds[0] < FEWEST_SEEDS:
        said += f" Fewer than {FEWEST_SEEDS} never call a difference."
    if not others:
        said += (
            f" A method that fails in half of its runs would look as clean over {count(seeds[0], 'seed')} "
            f"in {0.5 ** seeds[0]:.1%} of cases."
        )
    return said


def _support(cell: Cell, entries: Sequence[Entry]) -> list[Entry]:
    """The rows behind one sentence: the method's own, those it is paired with, and those behind a mean reference."""
    own = [entry for entry in entries if entry.variant == cell.variant]
    usable = [entry for entry in own if not entry.differences]
    paired = {
        (method, int(seed))
        for method, found in (("baseline", cell.delta_baseline), ("ema", cell.delta_ema))
        if found is not None
        for seed in found.differences
    }
    references = {(entry.summary.metrics.fp32, entry.summary.metrics.ptq) for entry in usable}
    return [
        entry
        for entry in own
        if entry.method == cell.method
        or (not entry.differences and ((entry.method, entry.seed) in paired or len(references) > 1))
    ]
