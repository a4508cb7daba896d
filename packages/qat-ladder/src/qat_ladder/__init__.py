"""Composes the qat packages into ladder stages; `tasks.py` at the root of the repository is its front.

Nothing in the five products needs it.
"""

from qat_ladder.compose import compose
from qat_ladder.config import Config
from qat_ladder.errors import LadderError
from qat_ladder.flags import Request
from qat_ladder.layout import Root
from qat_ladder.plan import Plan
from qat_ladder.stage import run_stage

__all__ = ["Config", "LadderError", "Plan", "Request", "Root", "compose", "run_stage"]
