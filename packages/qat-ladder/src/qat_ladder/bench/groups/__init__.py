"""The groups of `invoke bench`, a module each with a `GROUP`, in the order of the page."""

import importlib
from collections.abc import Sequence

from qat_ladder.bench.case import Group
from qat_ladder.errors import ConfigError

GROUPS = ("training", "gpu", "ladder", "data", "metrics", "report", "startup", "growth", "functions")


def load(names: Sequence[str] = ()) -> list[Group]:
    """Groups by name, in the order of the page; all without a name.

    Raises:
        ConfigError: no such group.
    """
    if unknown := [name for name in names if name not in GROUPS]:
        raise ConfigError(f"--only {','.join(unknown)}: no such group; there are {', '.join(GROUPS)}")
    return [
        importlib.import_module(f"qat_ladder.bench.groups.{name.replace('-', '_')}").GROUP
        for name in GROUPS
        if not names or name in names
    ]
