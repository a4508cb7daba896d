"""Examples of docstrings as code: an extension of griffe, named in mkdocs.yml.

Outside a section "Examples:" griffe takes a docstring for Markdown, where ">>>" quotes three times over.
"""

import re
from typing import Any

import griffe


def fenced(text: str) -> str:
    """The text with every doctest, up to the next blank line, in a fence."""
    return re.sub(r"^>>> .*(?:\n.+)*", lambda match: f"```pycon\n{match[0]}\n```", text, flags=re.MULTILINE)


class Doctests(griffe.Extension):
    """Fences the examples of every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class and function."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
