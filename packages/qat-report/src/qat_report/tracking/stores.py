"""What both trackers share: what became of each row, and the package that may be missing."""

import importlib
from typing import Literal

import attrs

from qat_report.errors import ToolError

State = Literal["written", "replaced", "unchanged"]


@attrs.frozen(kw_only=True)
class Exported:
    """One row in a tracker: `place` is its folder below the log folder, or the id that MLflow gave it."""

    run_id: str
    state: State
    place: str


def need(module: str, extra: str) -> None:
    """Import a package of an extra.

    Raises:
        ToolError: it is not installed; the text holds the command that installs it.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ToolError(
            f"{error.name or module} is not installed; run: python -m pip install 'qat-report[{extra}]'"
        ) from error
