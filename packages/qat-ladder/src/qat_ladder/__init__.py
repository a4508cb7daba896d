"""Composes the qat packages into ladder stages; `tasks.py` at the root of the repository is its front.

Nothing in the five products needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qat_ladder.compose import compose
    from qat_ladder.config import Config
    from qat_ladder.errors import LadderError
    from qat_ladder.flags import Request
    from qat_ladder.layout import Root
    from qat_ladder.plan import Plan
    from qat_ladder.stage import run_stage

__all__ = ["Config", "LadderError", "Plan", "Request", "Root", "compose", "run_stage"]
_HOMES = {
    "Config": "config",
    "LadderError": "errors",
    "Plan": "plan",
    "Request": "flags",
    "Root": "layout",
    "compose": "compose",
    "run_stage": "stage",
}


def __getattr__(name: str) -> Any:
    """Public names on their first use: `invoke --list` needs none of them, and they would double its time."""
    if name in _HOMES:
        found = getattr(importlib.import_module(f"qat_ladder.{_HOMES[name]}"), name)
        globals()[name] = found  # also where a module of the same name was bound to it by the import
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
