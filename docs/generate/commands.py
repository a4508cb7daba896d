"""Pages of the commands, from the click commands themselves."""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import click

from generate.tables import cell, code, paragraphs, prose, table
from qat_artifacts import Exit

PROGRAMS = {f"qat-{name}": f"qat_{name}.cli" for name in ("data", "train", "qc", "report", "gate")}
_CODES = {
    Exit.OK: "done; a collapsed run is a result, not an error",
    Exit.BUG: "a bug, with a traceback",
    Exit.USAGE: "wrong command line or configuration",
    Exit.INPUT: "bad input: data or an artifact",
    Exit.NO_GO: "the gate says NO-GO",
    Exit.BUSY: "somebody else works in this run root",
    Exit.CELL_FAILED: "a cell failed or diverged, after the others were finished",
    Exit.ENVIRONMENT: "disk, device, or a missing package",
    Exit.INTERRUPTED: "Ctrl-C",
    Exit.TERMINATED: "terminated by a signal",
}


def group(program: str) -> click.Group:
    """The click group behind a program's name."""
    found = importlib.import_module(PROGRAMS[program]).cli
    assert isinstance(found, click.Group)
    return found


def walk(found: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that call it; groups are walked into."""
    for name, command in sorted(found.commands.items()):
        if isinstance(command, click.Group):
            yield from walk(command, *names, name)
        else:
            yield (*names, name), command


def page(program: str) -> str:
    """The page of one program."""
    found = group(program)
    parts = [f"# {program}\n", paragraphs(found.help or ""), "[Exit codes](index.md) are the same for every command.\n"]
    for words, command in walk(found):
        parts.append(_section(program, words, command))
    return "\n".join(parts)


def _section(program: str, words: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join((program, *words)))
    usage = " ".join(context.get_usage().removeprefix("Usage: ").split())
    parts = [f"## {program} {' '.join(words)}\n", f"```console\n{usage}\n```\n", paragraphs(command.help or "")]
    if command.epilog:
        lines = [line.strip() for line in command.epilog.splitlines() if re.match(r"\s+\S", line)]
        parts.append("```console\n" + "\n".join(lines) + "\n```\n")
    rows = [_row(parameter, context) for parameter in command.get_params(context) if "--help" not in parameter.opts]
    parts.append(table(("argument or option", "value", "default", "meaning"), rows) if rows else "No options.\n")
    return "\n".join(parts)


def _row(parameter: click.Parameter, context: click.Context) -> tuple[str, str, str, str]:
    names = ", ".join((*parameter.opts, *parameter.secondary_opts))
    if isinstance(parameter, click.Argument):
        return (
            code(parameter.make_metavar(context)),
            cell(parameter.type.name),
            "required" if parameter.required else "",
            "",
        )
    assert isinstance(parameter, click.Option)
    value = "" if parameter.is_flag else code(parameter.metavar or _kind(parameter.type))
    repeated = " Repeatable." if parameter.multiple and "epeat" not in (parameter.help or "") else ""
    return code(names), value, _default(parameter, context), prose((parameter.help or "") + repeated)


def _kind(kind: Any) -> str:
    if isinstance(kind, click.Choice):
        return " | ".join(map(str, kind.choices))
    if isinstance(kind, click.IntRange | click.FloatRange):
        name = "integer" if isinstance(kind, click.IntRange) else "number"
        if kind.min is None or kind.max is None:
            return f"{name} {'<=' if kind.min is None else '>='} {kind.max if kind.min is None else kind.min:g}"
        return f"{name}, {kind.min:g} to {kind.max:g}"
    return str(kind.name)


def _default(parameter: click.Option, context: click.Context) -> str:
    if parameter.required:
        return "required"
    if parameter.is_flag:
        return "off"
    shown = parameter.get_default(context, call=False)
    plain = isinstance(shown, str | int | float) and shown != ""
    return code(str(shown)) if plain else ""


def index() -> str:
    """The page over all programs, with the exit codes."""
    rows = [
        (
            f"[{program} {' '.join(words)}]({program}.md#{'-'.join((program, *words))})",
            prose(command.get_short_help_str(200)),
        )
        for program in PROGRAMS
        for words, command in walk(group(program))
    ]
    codes = [(str(int(exit_code)), text) for exit_code, text in _CODES.items()]
    return "\n".join(
        (
            "# Commands\n",
            "Data go to stdout, logs to stderr; `--json` prints exactly one JSON document. What composes these "
            "commands is [invoke](../tasks.md).\n",
            table(("command", "what it does"), rows),
            "## Exit codes\n",
            "The same for every command and every task.\n",
            table(("code", "meaning"), codes),
        )
    )
