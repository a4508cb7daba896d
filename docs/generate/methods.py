"""The page of the methods, from the files in configs/methods."""

import re
from pathlib import Path

import tomli

from generate.tables import code, prose, table
from qat_ladder.compose import flatten

ROOT = Path(__file__).parents[2]


def page() -> str:
    """Every method with what its file sets and the comment that it begins with."""
    rows = []
    for path in sorted((ROOT / "configs" / "methods").glob("*.toml")):
        text = path.read_text(encoding="utf-8")
        keys = flatten(tomli.loads(text))
        name, weights, corrected = (keys.pop(f"method.{key}") for key in ("name", "weights", "correction"))
        counted = f"{weights}, corrected" if corrected else weights
        sets = ", ".join(
            code(f"{key} = {str(value).lower() if isinstance(value, bool) else value}") for key, value in keys.items()
        )
        rows.append((f"[{name}](../../configs/methods/{path.name})", counted, sets, prose(_comment(text))))
    rows.sort()  # by the name, not by the file's
    return "\n".join(
        (
            "# Methods\n",
            "A method is a row of the comparison: a file in `configs/methods`. `--methods` takes these names, and "
            "patterns such as `'learned*'`. Rows whose files set the same training keys come from one training run. "
            "[How to add one](../how-to/add-a-method.md); [what each computes](../methods.md).\n",
            table(("method", "weights that count", "what its file sets", "source"), rows),
        )
    )


def _comment(text: str) -> str:
    """The comment that a file begins with."""
    lines = re.match(r"(?:#.*\n)*", text)
    assert lines is not None
    return " ".join(line.removeprefix("#").strip() for line in lines[0].splitlines())
