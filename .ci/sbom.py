"""A software bill of materials of an environment, CycloneDX JSON; no network is needed.

    python .ci/sbom.py PYTHON OUT

The same environment gives the same bytes, on every machine: no time, no serial number, no folder of this machine.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def portable(part: Any) -> Any:
    """The document without references to local folders, which editable installations leave in it."""
    if isinstance(part, dict):
        return {key: portable(value) for key, value in part.items()}
    if isinstance(part, list):
        return [
            portable(value)
            for value in part
            if not (isinstance(value, dict) and str(value.get("url", "")).startswith("file:"))
        ]
    return part


def describe(python: str, out: Path) -> None:
    """Write the bill of `python`'s environment."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "sbom.json"
        words = ["environment", "--output-reproducible", "--output-format", "JSON", "--output-file", str(made), python]
        subprocess.run([sys.executable, "-m", "cyclonedx_py", *words], check=True)
        document = portable(json.loads(made.read_text(encoding="utf-8")))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{out}: {len(document['components'])} components")


if __name__ == "__main__":
    describe(sys.argv[1], Path(sys.argv[2]))
