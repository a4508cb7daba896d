"""What the pages of a comparison show: its numbers, the summaries behind them, and what lies behind those."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from qat_report.comparison import Comparison, Reference
from qat_report.evidence import Evidence, Found
from qat_report.finding import relative
from qat_report.grouping import Entry
from qat_report.oscillation import TrainingRun, training_runs
from qat_report.per_class import PerClass, per_class
from qat_report.pictures import Embedded, embed
from qat_report.summary import Variant


@attrs.frozen(kw_only=True)
class Section:
    """One variant: what its tables and plots are made from. `classes` None and no `runs`: nothing lies behind."""

    variant: Variant
    reference: Reference
    entries: tuple[Entry, ...]
    runs: tuple[TrainingRun, ...]
    classes: PerClass | None


@attrs.frozen(kw_only=True)
class Contents:
    """`entries` stand in the order of the comparison's rows; `gaps` are sentences on files that are not shown.

    `pictures` are those that the page holds, of all that the exports have.
    """

    comparison: Comparison
    entries: tuple[Entry, ...]
    sections: tuple[Section, ...]
    gaps: tuple[str, ...]
    pictures: tuple[Embedded, ...]

    @classmethod
    def of(cls, comparison: Comparison, entries: Sequence[Entry], found: Found, *, out: Path) -> "Contents":
        """Bring together a comparison for the folder `out` and what was found behind its summaries."""
        evidence = {relative(path, out): behind for path, behind in found.by_summary.items()}
        return cls(
            comparison=comparison,
            entries=tuple(entries),
            sections=tuple(_section(reference, entries, evidence) for reference in comparison.references),
            gaps=found.gaps,
            pictures=embed(comparison.exports, comparison.rows, out=out),
        )


def _section(reference: Reference, entries: Sequence[Entry], evidence: Mapping[str, Evidence]) -> Section:
    own = tuple(entry for entry in entries if entry.variant == reference.variant)
    return Section(
        variant=reference.variant,
        reference=reference,
        entries=own,
        runs=tuple(training_runs(own, evidence)),
        classes=per_class(own, evidence),
    )
