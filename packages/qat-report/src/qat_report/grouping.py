"""Which summaries of a variant belong together, and why the others do not."""

from collections.abc import Sequence

import attrs

from qat_report import comparable
from qat_report.methods import rank
from qat_report.summary import VARIANTS, RunSummary


@attrs.frozen(kw_only=True)
class Entry:
    """A summary with its place (`path`, relative to the report) and how it differs from the runs it is set beside.

    `settings` are what comparability looks at, derived from the summary; once, a report asks for them many times.
    """

    summary: RunSummary
    path: str
    differences: tuple[comparable.Difference, ...] = ()
    settings: comparable.Settings = attrs.field(
        default=attrs.Factory(lambda self: comparable.settings(self.summary), takes_self=True), eq=False, repr=False
    )

    @property
    def method(self) -> str:
        """The method's name."""
        return self.summary.method.variant

    @property
    def variant(self) -> str:
        """The model's variant."""
        return self.summary.model.variant

    @property
    def seed(self) -> int:
        """The run's seed, the unit of repetition."""
        return self.summary.training.seed


def order(entry: Entry) -> tuple[int, int, str, int, str]:
    """Variants by size, methods from plain to corrected, then seeds: the order of every table."""
    variant = VARIANTS.index(entry.summary.model.variant)
    return (variant, rank(entry.method), entry.method, entry.seed, entry.summary.run_id)


def flag(entries: Sequence[Entry]) -> list[Entry]:
    """Entries of one variant, each with its differences from the variant's common settings.

    The common settings are those that most trajectories share; a tie goes to the lowest seed, then the first run id.
    Keys that a method itself sets are compared among that method's own runs, in the same way.
    """
    common = _most_common([entry for entry in entries if not entry.summary.method.sets] or list(entries))
    flagged = [_compare(entry, common, exempt=entry.summary.method.sets) for entry in entries]
    for method in sorted({entry.method for entry in flagged if entry.summary.method.sets}):
        own = [entry for entry in flagged if entry.method == method and not entry.differences]
        if own:
            settings = _most_common(own)
            flagged = [_compare(entry, settings) if entry in own else entry for entry in flagged]
    return flagged


def _compare(entry: Entry, common: comparable.Settings, exempt: Sequence[str] = ()) -> Entry:
    found = comparable.differences(entry.settings, common, exempt=exempt)
    return attrs.evolve(entry, differences=found)


def _most_common(entries: Sequence[Entry]) -> comparable.Settings:
    groups: list[tuple[comparable.Settings, list[Entry]]] = []
    for entry in sorted(entries, key=lambda e: (e.seed, e.summary.run_id)):
        for known, members in groups:
            if not comparable.differences(entry.settings, known):
                members.append(entry)
                break
        else:
            groups.append((entry.settings, [entry]))
    # `max` keeps the first of equals, and groups stand in the order of their lowest seed.
    return max(groups, key=lambda group: len({entry.summary.trajectory_id for entry in group[1]}))[0]
