"""The tables of where the rows come from: settings and who gave them, hashes, versions."""

from collections.abc import Sequence

from qat_report import comparable
from qat_report.grouping import Entry
from qat_report.numbers import ABSENT
from qat_report.summary import RunSummary
from qat_report.tables import Table


def settings_table(entries: Sequence[Entry]) -> Table:
    """The settings that each variant's comparable runs share."""
    first = {e.variant: e.settings for e in reversed(entries) if not e.differences}
    variants = sorted(first, key=[e.variant for e in entries].index)
    keys = dict.fromkeys(key for variant in variants for key in first[variant])
    rows = [(key, *(comparable.shorten(first[variant].get(key)) for variant in variants)) for key in keys]
    return Table(columns=("setting", *variants), rows=tuple(rows))


def provenance_table(entries: Sequence[Entry]) -> Table:
    """Where each run comes from. Hashes are cut to 12 digits, the summaries hold them whole."""
    rows = [
        (
            entry.summary.run_id,
            entry.summary.created_at,
            git_state(entry.summary),
            (entry.summary.model.checkpoint_sha256 or ABSENT)[:12],
            entry.summary.dataset.fingerprint[:12],
            f"{entry.summary.dataset.train_images} / {entry.summary.dataset.val_images}",
            (entry.summary.evaluation.weights_sha256 or ABSENT)[:12],
            entry.summary.training.device,
        )
        for entry in entries
    ]
    columns = ("run", "created", "commit", "checkpoint", "data", "train / val images", "final weights", "device")
    return Table(columns=columns, rows=tuple(rows))


def versions_table(entries: Sequence[Entry]) -> Table:
    """Versions of what the runs were made with."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        for name, version in entry.summary.versions.items():
            found.setdefault(name, set()).add(version)
    return Table(columns=("software", "version"), rows=tuple((n, ", ".join(sorted(found[n]))) for n in sorted(found)))


def git_state(summary: RunSummary) -> str:
    """Such as "29c120f33754 (main), changed"."""
    git = summary.git
    if git.commit is None:
        return ABSENT
    branch = f" ({git.branch})" if git.branch else ""
    return f"{git.commit[:12]}{branch}{', changed' if git.dirty else ''}"


def given_table(entries: Sequence[Entry]) -> Table | None:
    """What was given beside the shipped configuration, by row; None where nothing was."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        for key, value in entry.summary.training.overrides.items():
            found.setdefault((key, comparable.shorten(value)), []).append(entry.summary.run_id)
    rows = [
        (key, value, "all" if len(found[key, value]) == len(entries) else ", ".join(found[key, value]))
        for key, value in sorted(found)
    ]
    return Table(columns=("given", "value", "rows"), rows=tuple(rows)) if rows else None
