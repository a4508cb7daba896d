"""The support library stays small, generic and light: limits that nobody may raise in passing."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
SOURCES = sorted((PACKAGE / "src").rglob("*.py"))


def lines_of_code(text):
    """Lines without comments, docstrings and blank lines; a statement that the formatter wraps is one line."""
    docstrings = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
    ]
    ends = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.NEWLINE]
    return len(ends) - len(docstrings)


def test_comments_docstrings_blank_and_wrapped_lines_are_not_counted():
    text = '"""Doc\n\nstring."""\n\n# why\nx = 1  # how\n\n\ndef f():\n    """Doc."""\n    return (\n        x\n    )\n'
    assert lines_of_code(text) == 3


def test_source_has_at_most_250_lines_of_code():
    assert len(SOURCES) >= 6
    assert sum(lines_of_code(path.read_text(encoding="utf-8")) for path in SOURCES) <= 250


def test_source_holds_no_word_of_the_domain():
    words = re.compile(r"yolo|coco|map50|torch", re.IGNORECASE)
    assert [path.name for path in SOURCES if words.search(path.read_text(encoding="utf-8"))] == []


def test_source_imports_nothing_but_the_standard_library_attrs_and_cattrs():
    imported = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"attrs", "cattrs", "qat_artifacts"}


def test_declared_dependencies_are_attrs_and_cattrs():
    text = (PACKAGE / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dependencies = ["attrs>=24.2", "cattrs>=25.1"]\n' in text
    assert "scripts" not in text
    assert "optional-dependencies" not in text


@pytest.mark.parametrize("module", ["torch", "numpy", "click"])
def test_importing_it_loads_nothing_heavy(module):
    code = f"import qat_artifacts, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
