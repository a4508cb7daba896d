"""Run a tutorial: the fenced blocks of a Markdown page in their order, in the current folder.

    python tests/tutorials/run_page.py docs/tutorials/qat-gate.md
    python tests/tutorials/run_page.py --needs docs/tutorials/qat-gate.md      (what it installs, one a line)

The page is the only place where its code stands. What its blocks mean:

* A block with `title="NAME"` is written to that file.
* `python` runs in this interpreter, in one namespace for the whole page.
* `sh` runs in bash and ends at the first command that fails. `pip install` installs nothing: what it names has to be
  there already, in a version that fits.
* `text` is what the block before it prints on stdout; a block without one prints nothing. `...` stands for any text,
  of several lines where it stands alone in one: numbers that another CPU rounds otherwise, and what would be long.
* `console` and all other languages are shown and not run.

Exit code 1 with place and difference where a block fails or prints something else, 7 where something is not installed.
"""

import contextlib
import difflib
import doctest
import importlib.metadata
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from markdown_it import MarkdownIt
from packaging.requirements import Requirement

_TITLE = re.compile(r'title="([^"]+)"')
_INSTALL = re.compile(r"^pip install (.+)$", re.MULTILINE)


class PageError(Exception):
    """A block that does not do what its page says; the text begins with page and line."""


class NotInstalled(PageError):
    """What the page installs is not there."""


@attrs.frozen(kw_only=True)
class Block:
    """A fenced block that does something; `shown` is the output beside it, `line` where its code begins."""

    language: str
    title: str | None
    code: str
    line: int
    shown: str = ""


def blocks(text: str) -> tuple[Block, ...]:
    """The blocks of a page that are run or written, each with the output that follows it."""
    found: list[Block] = []
    for token in MarkdownIt().parse(text):
        if token.type != "fence" or token.map is None:
            continue
        language, _, rest = token.info.partition(" ")
        title = _TITLE.search(rest)
        if language == "text" and not title:
            if not found or found[-1].title or found[-1].shown:
                raise PageError(f"line {token.map[0] + 1}: an output that follows no block that prints")
            found[-1] = attrs.evolve(found[-1], shown=token.content)
        elif title or language in ("python", "sh"):
            name = title[1] if title else None
            found.append(Block(language=language, title=name, code=token.content, line=token.map[0] + 2))
    return tuple(found)


def requirements(found: tuple[Block, ...]) -> tuple[Requirement, ...]:
    """What the `pip install` lines of a page name."""
    return tuple(
        Requirement(word)
        for block in found
        if block.language == "sh"
        for line in _INSTALL.findall(block.code)
        for word in shlex.split(line, comments=True)
    )


def run(page: Path) -> int:
    """Run every block of the page in the current folder; returns how many.

    Raises:
        PageError: a block failed, or printed something else than the page shows.
    """
    found = blocks(page.read_text(encoding="utf-8"))
    for requirement in requirements(found):
        _check_installed(requirement)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in found:
        place = f"{page}:{block.line}"
        if block.title:
            Path(block.title).write_text(block.code, encoding="utf-8")
            continue
        printed = _python(block, place, namespace) if block.language == "python" else _sh(block, place)
        if not doctest.OutputChecker().check_output(block.shown, printed, doctest.ELLIPSIS):
            raise PageError(f"{place}: prints something else than the page shows\n{_difference(block.shown, printed)}")
    return len(found)


def _check_installed(requirement: Requirement) -> None:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError as error:
        raise NotInstalled(f"{requirement.name} is not installed; the page asks for {requirement}") from error
    if not requirement.specifier.contains(version, prereleases=True):
        raise NotInstalled(f"{requirement.name} {version} is installed; the page asks for {requirement}")


def _python(block: Block, place: str, namespace: dict[str, Any]) -> str:
    padded = "\n" * (block.line - 1) + block.code  # a traceback then names lines of the page
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            exec(compile(padded, place.rpartition(":")[0], "exec"), namespace)
        except Exception as error:
            raise PageError(f"{place}: {type(error).__name__}: {error}") from error
    return out.getvalue()


def _sh(block: Block, place: str) -> str:
    commands = _INSTALL.sub("", block.code)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-eu", "-c", commands],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PATH": path},
    )
    if done.returncode:
        raise PageError(f"{place}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def _difference(shown: str, printed: str) -> str:
    lines: Iterator[str] = difflib.unified_diff(
        shown.splitlines(), printed.splitlines(), "the page", "printed", lineterm="", n=2
    )
    return "\n".join(lines)


def main() -> int:
    """Run the page that the command line names; its exit code."""
    page = Path(sys.argv[-1])
    if "--needs" in sys.argv:
        print(*requirements(blocks(page.read_text(encoding="utf-8"))), sep="\n")
        return 0
    try:
        count = run(page)
    except PageError as error:
        print(error if str(page) in str(error) else f"{page}: {error}", file=sys.stderr)
        return 7 if isinstance(error, NotInstalled) else 1
    print(f"{page}: {count} blocks do what the page says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
