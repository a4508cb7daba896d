"""Composes the qat packages into ladder stages; `tasks.py` at the root of the repository is its front.

Nothing in the five products needs it.
"""

import importlib
import sys
from types import ModuleType
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


class _Package(ModuleType):
    """Imports a public name from its module when it is first asked for; `invoke --list` needs none."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        self.__dict__[name] = found
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing qat_ladder.compose binds that module to qat_ladder.compose, where the public name is a function.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
