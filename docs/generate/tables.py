"""Markdown of the generated pages: tables and cells."""

import html
import inspect
import re
from collections.abc import Iterable, Sequence


def cell(text: str) -> str:
    """Text as one cell of a table: one line, no bar that ends it, no angle bracket that begins a tag."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "&#124;")


def code(text: str) -> str:
    """Text as code inside a cell; a bar in it would end the cell, so it is written as an entity in a <code> element."""
    return f"<code>{cell(text)}</code>" if text else ""


def prose(text: str) -> str:
    """A docstring's paragraph as a cell: `code` in it stays code, everything else is escaped."""
    parts = re.split(r"`([^`]*)`", text)
    return "".join(code(part) if i % 2 else _within(part) for i, part in enumerate(parts)).strip()


def _within(text: str) -> str:
    """As `cell`, with a blank kept where the text begins or ends with one."""
    return f"{' ' * text[:1].isspace()}{cell(text)}{' ' * text[-1:].isspace()}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def paragraphs(text: str) -> str:
    """A docstring as Markdown: paragraphs joined to lines, indented or "Example:" ones as code."""
    found = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text).strip()):
        if example := re.fullmatch(r"Example: (.*)", block, re.DOTALL):
            found.append(f"```console\n{' '.join(example[1].split())}\n```")
        elif block.startswith("    "):
            found.append(f"```console\n{inspect.cleandoc(block)}\n```")
        else:
            found.append(prose(block))
    return "\n\n".join(found) + "\n"
