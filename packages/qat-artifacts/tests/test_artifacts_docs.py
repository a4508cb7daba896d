"""The examples in README and docstrings run."""

import doctest
from pathlib import Path

import qat_artifacts


def test_readme_examples_run():
    readme = Path(__file__).parents[1] / "README.md"
    result = doctest.testfile(str(readme), module_relative=False)
    assert result.attempted >= 5
    assert result.failed == 0


def test_package_docstring_example_runs():
    result = doctest.testmod(qat_artifacts)
    assert result.attempted >= 5
    assert result.failed == 0


def test_public_names_are_sorted_and_exist():
    assert qat_artifacts.__all__ == sorted(qat_artifacts.__all__)
    assert all(hasattr(qat_artifacts, name) for name in qat_artifacts.__all__)
