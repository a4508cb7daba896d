"""README and public names are held true."""

import doctest
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_help_builds_no_record_and_reads_no_toml():
    code = "import sys, qat_gate.cli; print([m for m in ('tomli', 'qat_gate.summaries', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_name_that_is_not_public_is_told():
    with pytest.raises(AttributeError, match=r"^module 'qat_gate' has no attribute 'verfy'$"):
        _ = qat_gate.verfy
