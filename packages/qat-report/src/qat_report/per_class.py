"""AP50-95 by class: floating point, before training, and every method, mean over the runs that count."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import attrs

from qat_report.cells import counted
from qat_report.evidence import Evidence
from qat_report.grouping import Entry
from qat_report.methods import STANDING
from qat_report.numbers import delta, difference, metric
from qat_report.tables import Table

REFERENCES = ("FP32", "PTQ")


@attrs.frozen(kw_only=True)
class PerClass:
    """Of one variant. `columns` are those REFERENCES that are known, then methods; `values` by column and class.

    `subject` is the method of interest, the most corrected of the ladder's own. `classes` are ordered by what it loses
    against the first column, the largest loss first.
    """

    columns: tuple[str, ...]
    subject: str
    classes: tuple[str, ...]
    values: Mapping[str, Mapping[str, float]]


def per_class(entries: Sequence[Entry], evidence: Mapping[str, Evidence]) -> PerClass | None:
    """From the evidence of the counted runs of one variant; None where it has no value by class."""
    measured: dict[str, list[Mapping[str, float]]] = {name: [] for name in REFERENCES}
    for entry in entries:
        found = evidence.get(entry.path)
        if found is None or found.final is None or not counted(entry):
            continue
        for name, point in zip(REFERENCES, (found.references.fp32, found.references.ptq), strict=True):
            measured[name] += [point.per_class] if point is not None else []
        measured.setdefault(entry.method, []).append(found.final.per_class)
    values = {column: _means(points) for column, points in measured.items()}
    columns = tuple(column for column, found in values.items() if found)
    if not set(columns) - set(REFERENCES):
        return None
    subject = next((method for method in reversed(STANDING) if method in columns), columns[-1])
    names = dict.fromkeys(name for column in columns for name in values[column])
    lost = {name: difference(values[subject].get(name), values[columns[0]].get(name)) or 0.0 for name in names}
    classes = tuple(sorted(names, key=lambda name: (lost[name], name)))
    return PerClass(columns=columns, subject=subject, classes=classes, values=values)


def _means(points: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for point in points for name in point)
    return {name: fmean(point[name] for point in points if name in point) for name in names}


def class_table(found: PerClass, *, most: int | None = None) -> Table:
    """All classes, or the `most` that lose most."""
    last, first = found.subject, found.columns[0]
    rows = [
        (
            name,
            *(metric(found.values[column].get(name)) for column in found.columns),
            delta(difference(found.values[last].get(name), found.values[first].get(name))),
        )
        for name in found.classes[:most]
    ]
    return Table(columns=("class", *found.columns, f"Δ {last} − {first}"), rows=tuple(rows))
