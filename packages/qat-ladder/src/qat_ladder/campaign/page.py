"""campaign.md: the numbers as qat-report and qat-train wrote them, and findings in the comparison's own words."""

from collections.abc import Sequence
from pathlib import Path

import qat_artifacts
from qat_ladder.campaign.contest import ENOUGH, Duel, contests
from qat_ladder.campaign.evidence import Cell, Evidence, Paired, gather, refresh
from qat_ladder.campaign.figure import finals_svg
from qat_ladder.campaign.file import Block, Campaign
from qat_ladder.campaign.markdown import ABSENT, bullets, code, delta, escape, metric, near, shell, table
from qat_ladder.campaign.units import settings_of
from qat_ladder.errors import ConfigError
from qat_ladder.estimate import spell

_COLUMNS = (
    "row", "bits", "counted", "PTQ", "final mean", "min to max", "std", "worst", "Δ FP32", "Δ baseline [95 %]",
    "classes", "per run",
)  # fmt: skip
_LEGEND = (
    "Numbers are mAP50-95 after the last epoch and the row's correction. Bits: the average width of a quantized weight "
    "under the row's layer policy. Counted: seeds in the mean, of those planned. PTQ: quantized as the row begins, "
    "nothing trained. "
    "Δ baseline is paired by seed; its interval is the percentile bootstrap of comparison.json. Bold: the highest mean "
    "of the quantized rows with the most seeds, all planned ones counted; that it is highest does not say that it is "
    "better. Rows of one training run share its time."
)


def write_report(campaign: Campaign, root: Path, out: Path, *, findings: Path | None = None) -> Path:
    """Write campaign.md, and for each block that has results BLOCK/comparison.json and BLOCK/finals.svg below `out`.

    Args:
        campaign: as its record says.
        root: of the campaign.
        out: a folder, which is made; or the root itself.
        findings: Markdown of whoever read the numbers, to stand before them.

    Returns:
        The page.

    Raises:
        ConfigError: the findings cannot be read.
        ArtifactError: of a block: a comparison, summary or run that cannot be read.
        LadderError: qat-report refuses the summaries of a block.
    """
    read = _findings(findings) if findings else ""
    refresh(root, campaign.blocks)
    found = gather(root, campaign.blocks)
    for evidence in found:
        if evidence.comparison is None:
            continue
        folder = out / evidence.block.name
        if folder.resolve() != evidence.comparison.parent.resolve():
            qat_artifacts.write_bytes(folder / "comparison.json", evidence.comparison.read_bytes())
        qat_artifacts.write_text(folder / "finals.svg", finals_svg(evidence, f"Final mAP50-95, {_title(evidence)}"))
    page = out / "campaign.md"
    qat_artifacts.write_text(page, render(campaign, found, root, findings=read))
    return page


def _findings(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"--findings {path}: {reason}; give a Markdown file, or leave the flag out") from error


def render(campaign: Campaign, found: Sequence[Evidence], root: Path, *, findings: str = "") -> str:
    """The page; `findings` is Markdown and stands first."""
    parts = [
        f"# Campaign {campaign.name}\n",
        *([f"{findings}\n"] if findings else []),
        code([shell(["invoke", "campaign.run", *campaign.command, "--root", near(root)])]),
        _overview(found),
        *(part for evidence in found for part in _block(evidence, root)),
    ]
    return "\n".join(parts)


def _title(evidence: Evidence) -> str:
    return evidence.block.title or evidence.block.name


def _overview(found: Sequence[Evidence]) -> str:
    rows = []
    for evidence in found:
        best = evidence.best()
        baseline = next((cell for cell in evidence.cells if cell.method == "baseline"), None)
        runs = evidence.seconds()
        rows.append(
            (
                f"{_title(evidence)}",
                _span(evidence, "fp32"),
                _span(evidence, "ptq"),
                metric(baseline.mean if baseline else None),
                best.method if best else ABSENT,
                metric(best.mean if best else None),
                _paired(best.delta_baseline if best else None),
                f"{len(runs)}, {spell(sum(runs))}" if runs else "0",
            )
        )
    columns = ("block", "FP32", "PTQ", "baseline", "best row", "its mean", "Δ baseline [95 %]", "training runs")
    return table(columns, rows)


def _span(evidence: Evidence, name: str) -> str:
    """A reference of all rows, which may have several: what a row begins with depends on its quantizer."""
    found = [value for value, _ in evidence.references(name)]
    return " to ".join(metric(value) for value in sorted({min(found), max(found)})) if found else ABSENT


def _block(evidence: Evidence, root: Path) -> list[str]:
    block = evidence.block
    missing = [f"{row} seed {', '.join(map(str, seeds))}" for row, seeds in evidence.missing().items()]
    parts = [f"## {escape(_title(evidence))}\n", code(_commands(block, root))]
    if evidence.comparison is not None:
        best = evidence.best()
        rows = [*_reference_rows(evidence), *(_row(cell, evidence) for cell in evidence.cells)]
        parts += [
            table(_COLUMNS, rows, marked=best.method if best else None),
            f"{_LEGEND}\n",
            f"![Final mAP50-95 of every seed]({block.name}/finals.svg)\n",
            *_contest(evidence),
            bullets(evidence.verdict),
        ]
    if missing:
        parts.append(f"Planned and not there: {escape('; '.join(missing))}.\n")
    if evidence.comparison is not None:
        parts.append(f"[comparison.json]({block.name}/comparison.json)\n")
        parts += ["Notes:\n", bullets(evidence.notes)] if evidence.notes else []
    return parts


def _contest(evidence: Evidence) -> list[str]:
    """Our best row against each peer, and our best of no more bits against those that have fewer."""
    found = contests(evidence)
    if not found:
        return []
    first, *narrower = found
    parts = [f"Against other libraries at the same width: {_width(first, evidence)}.\n", _duel_table(first, evidence)]
    for duels in narrower:
        bits = _bits(evidence.bits(duels[0].peer))
        parts.append(f"Against those of {bits} bits a weight, our best of no more: {_width(duels, evidence)}.\n")
        parts.append(_duel_table(duels, evidence))
    return [
        *parts,
        "Spread: the larger standard deviation over seeds of the two rows. Ahead: every seed is, and the mean by more "
        "than the spread. Our row was chosen by the numbers that judge it, the peers were not.\n",
    ]


def _width(duels: Sequence[Duel], evidence: Evidence) -> str:
    ours = duels[0].ours
    return f"{escape(ours)}, our row with the highest mean, at {_bits(evidence.bits(ours))} bits a weight"


def _duel_table(duels: Sequence[Duel], evidence: Evidence) -> str:
    columns = (
        *("peer", "bits", "its mean", f"{duels[0].ours} minus peer", "by seed", "spread"),
        "ahead by more than the spread",
    )
    rows = (
        (
            duel.peer,
            _bits(evidence.bits(duel.peer)),
            metric(duel.peer_mean),
            f"{delta(duel.mean)} (n = {len(duel.differences)})",
            ", ".join(f"{seed}: {delta(value)}" for seed, value in duel.differences.items()),
            metric(duel.spread),
            _won(duel),
        )
        for duel in duels
    )
    return table(columns, rows)


def _won(duel: Duel) -> str:
    if duel.won is None:
        return f"fewer than {ENOUGH} seeds"
    if not duel.won:
        return "no"
    return "yes, and no seed of one reaches one of the other" if duel.apart else "yes"


def _reference_rows(evidence: Evidence) -> list[tuple[str, ...]]:
    return [
        ("FP32, not quantized", *(ABSENT,) * 3, metric(value), *(ABSENT,) * (len(_COLUMNS) - 5))
        for value, _ in evidence.references("fp32")
    ]


def _row(cell: Cell, evidence: Evidence) -> tuple[str, ...]:
    seeds = set(cell.seeds) | evidence.planned(cell.method)
    times = [result.seconds for result in evidence.of(cell.method) if result.seconds is not None]
    several = cell.minimum is not None and cell.maximum is not None and len(cell.counted_seeds) > 1
    return (
        cell.method,
        _bits(evidence.bits(cell.method)),
        f"{len(cell.counted_seeds)} of {len(seeds)}",
        ", ".join(map(metric, evidence.starts(cell.method))) or ABSENT,
        metric(cell.mean),
        f"{metric(cell.minimum)} to {metric(cell.maximum)}" if several else ABSENT,
        metric(cell.std),
        metric(cell.worst),
        delta(cell.delta_fp32),
        _paired(cell.delta_baseline),
        _classes(cell),
        f"{sum(times) / len(times):.0f} s" if times else ABSENT,
    )


def _bits(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def _classes(cell: Cell) -> str:
    found = list(cell.classes.values())
    return ", ".join(f"{found.count(name)} {name}" for name in dict.fromkeys(found)) or "no comparable run"


def _paired(found: Paired | None) -> str:
    if found is None:
        return ABSENT
    span = found.interval
    interval = f" [{delta(span.low)}, {delta(span.high)}]" if span else ""
    return f"{delta(found.mean)}{interval} (n = {found.n})"


def _commands(block: Block, root: Path) -> list[str]:
    """What does the same without a campaign: a ladder for each list of rows."""
    flags = (("--coco-root", block.coco_root), ("--checkpoint", block.checkpoint), ("--profile", block.profile))
    given = [(flag, value) for flag, value in flags if value]
    given += [("--set", text) for text in settings_of(block, expanded=False)]
    given.append(("--root", near(root / block.name)))
    return [
        shell(
            [
                *("invoke", f"ladder.{block.variant[-1]}", "--seeds", ",".join(map(str, rows.seeds))),
                *("--methods", ",".join(rows.methods)),
                *(word for pair in given for word in pair),
            ]
        )
        for rows in block.rows
    ]
