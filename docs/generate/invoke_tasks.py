"""The page of `invoke`, from its collection of tasks."""

import inspect
from collections.abc import Iterator
from typing import Any

from generate.tables import code, paragraphs, prose, table
from qat_ladder import tasks


def walk(collection: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, task) of every task, in the order of the names."""
    for name, found in sorted(collection.tasks.items()):
        yield f"{prefix}{name}", found
    for name, part in sorted(collection.collections.items()):
        yield from walk(part, f"{prefix}{name}.")


def page() -> str:
    """Every task with its flags."""
    found = list(walk(tasks.collection()))
    rows = [
        (
            f"[{name}](#{name.replace('.', '')})",
            prose(inspect.cleandoc(task.__doc__ or "").partition("\n\n")[0]),
        )
        for name, task in found
    ]
    parts = [
        "# Tasks of invoke\n",
        "`invoke TASK [flags]`, in the folder of the repository; `invoke -l` lists them. Flags are checked inside the "
        "task: a wrong value exits 2. [Exit codes](commands/index.md) are those of the commands.\n",
        table(("task", "what it does"), rows),
    ]
    for name, task in found:
        parts += [f"## {name}\n", paragraphs(task.__doc__ or "")]
        flags = [_row(argument) for argument in task.get_arguments()]
        parts.append(table(("flag", "default", "meaning"), flags) if flags else "No flags.\n")
    return "\n".join(parts)


def _row(argument: Any) -> tuple[str, str, str]:
    names = ", ".join(f"--{name}" if len(name) > 1 else f"-{name}" for name in argument.names)
    repeated = argument.kind is list
    if argument.kind is bool:
        default = "off"
    elif repeated:
        default = "none; repeatable"
    else:
        default = code(str(argument.default)) if argument.default not in (None, "") else ""
    return code(names), default, prose(argument.help or "")
