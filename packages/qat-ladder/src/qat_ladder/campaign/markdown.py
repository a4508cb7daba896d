"""Markdown in GitHub's dialect, numbers as text, and command lines that a shell reads."""

import html
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from qat_artifacts import printable

ABSENT = "–"


def metric(value: float | None) -> str:
    """Four digits, or a dash."""
    return ABSENT if value is None else f"{value:.4f}"


def delta(value: float | None) -> str:
    """A difference with its sign, or a dash."""
    return ABSENT if value is None else f"{value:+.4f}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, marked: str | None = None) -> str:
    """A table in GitHub's dialect; the row that begins with `marked` is bold."""
    lines = [columns, ("---",) * len(columns)]
    for row in rows:
        bold = "**" if row[0] == marked else ""
        lines.append([f"{bold}{escape(text)}{bold}" for text in row])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, also in a table."""
    plain = html.escape(printable(" ".join(text.split())), quote=False)
    return re.sub(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|^(?=#|[-+] |---))", r"\\\1", plain)


def bullets(sentences: Iterable[str]) -> str:
    """A list; the sentences are shown as they are."""
    return "".join(f"- {escape(text)}\n" for text in sentences)


def code(lines: Iterable[str]) -> str:
    """A block of code; a line that holds line ends stays within it."""
    return "".join(f"    {text}\n" for line in lines for text in printable(line).split("\n"))


def near(path: Path) -> str:
    """A path as whoever stands in the working directory writes it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if path.absolute().is_relative_to(here) else str(path)


def shell(words: Iterable[str]) -> str:
    """A command line in which $NAME is what the shell fills in."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    plain = word.replace("$", "")
    if shlex.quote(plain) == plain:
        return word
    return f'"{word}"' if "$" in word else shlex.quote(word)
