"""Stability classes, run summaries and comparisons over seeds.

>>> from qat_report import Point, classify
>>> values = [0.21, 0.38, 0.41, 0.42, 0.12, 0.11]
>>> found = classify([Point(epoch=i, value=v) for i, v in enumerate(values, start=1)], fp32=0.44, ptq=0.07)
>>> found.stability_class, found.best_epoch
('collapsed', 4)
>>> found.reasons
('final 0.1100 is below 0.5 x best 0.4200',)

`read_series` is a strict parser of Ultralytics' results.csv, `summarize` and `compare` write artifacts and pages.
Needs neither torch nor any other part of its project.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qat_report.building import build_comparison
    from qat_report.comparable import Difference, differences, differences_across, settings
    from qat_report.comparing import compare
    from qat_report.comparison import Cell, Claim, Comparison, GateOutcome, PairedDelta, Reference, Row
    from qat_report.errors import ReportError, RequestError
    from qat_report.finding import find_summaries
    from qat_report.grouping import Entry
    from qat_report.records import Event
    from qat_report.refusing import refuse
    from qat_report.series import PRIMARY_METRIC, Series, SeriesPoint, read_series
    from qat_report.stability import Classification, Point, classify
    from qat_report.summarizing import summarize
    from qat_report.summary import RunSummary
    from qat_report.verifying import Verification, verify

__all__ = [
    "PRIMARY_METRIC",
    "Cell",
    "Claim",
    "Classification",
    "Comparison",
    "Difference",
    "Entry",
    "Event",
    "GateOutcome",
    "PairedDelta",
    "Point",
    "Reference",
    "ReportError",
    "RequestError",
    "Row",
    "RunSummary",
    "Series",
    "SeriesPoint",
    "Verification",
    "build_comparison",
    "classify",
    "compare",
    "differences",
    "differences_across",
    "find_summaries",
    "read_series",
    "refuse",
    "settings",
    "summarize",
    "verify",
]
_HOMES = {
    "PRIMARY_METRIC": "series",
    "Cell": "comparison",
    "Claim": "comparison",
    "Classification": "stability",
    "Comparison": "comparison",
    "Difference": "comparable",
    "Entry": "grouping",
    "Event": "records",
    "GateOutcome": "comparison",
    "PairedDelta": "comparison",
    "Point": "stability",
    "Reference": "comparison",
    "ReportError": "errors",
    "RequestError": "errors",
    "Row": "comparison",
    "RunSummary": "summary",
    "Series": "series",
    "SeriesPoint": "series",
    "Verification": "verifying",
    "build_comparison": "building",
    "classify": "stability",
    "compare": "comparing",
    "differences": "comparable",
    "differences_across": "comparable",
    "find_summaries": "finding",
    "read_series": "series",
    "refuse": "refusing",
    "settings": "comparable",
    "summarize": "summarizing",
    "verify": "verifying",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for: `qat-report --help` loads no page."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found
