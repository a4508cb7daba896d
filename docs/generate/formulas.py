"""Formulas as MathML, which browsers draw without a script or a font from elsewhere."""

from typing import Any

from latex2mathml.converter import convert


def block(source: str, *_: Any, **__: Any) -> str:
    """A block of LaTeX as a display formula; one line of it is one formula. Called by pymdownx.superfences."""
    drawn = (convert(line, display="block") for line in source.splitlines() if line.strip())
    return f'<div class="formulas">{"".join(drawn)}</div>'
