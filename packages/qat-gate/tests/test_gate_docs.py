"""README and public names are held true."""

import doctest
import os
from pathlib import Path

import qat_gate

README = Path(__file__).parents[1] / "README.md"


def test_readme_examples_run(tmp_path):
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        result = doctest.testfile(str(README), module_relative=False)
    finally:
        os.chdir(before)
    assert result.attempted >= 5
    assert result.failed == 0


def test_public_names_are_sorted_and_exist():
    assert qat_gate.__all__ == sorted(qat_gate.__all__)
    assert all(hasattr(qat_gate, name) for name in qat_gate.__all__)
