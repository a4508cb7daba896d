"""Markdown that shows any text as it is: escaping, tables, lists."""

import re
from collections.abc import Sequence

from qat_report.tables import Table
from qat_report.wording import shorten, visible

_MARKUP = re.compile(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|^(?=#|[-+] |---))")


def escape(text: str) -> str:
    """Text that Markdown shows as it is, also in a table cell: no markup, no HTML, no formula, one line."""
    plain = visible(text)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        plain = plain.replace(character, entity)
    return _MARKUP.sub(r"\\\1", plain)


def render(table: Table) -> str:
    """A table in GitHub's dialect."""
    head, *body = (tuple(escape(shorten(cell)) for cell in row) for row in (table.columns, *table.rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ("---",) * len(head), *body))


def bullets(sentences: Sequence[str]) -> str:
    """A list of sentences."""
    return "".join(f"- {escape(text)}\n" for text in sentences)


def section(title: str, table: Table | None, text: str, *, level: int = 2) -> list[str]:
    """Heading, table and text as blocks of a page; nothing without a table."""
    return [] if table is None else [f"{'#' * level} {escape(title)}\n", render(table), f"{escape(text)}\n"]
