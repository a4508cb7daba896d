"""The examples in README and docstrings run."""

import doctest
from pathlib import Path

import qat_data


def test_readme_examples_run():
    result = doctest.testfile(str(Path(__file__).parents[1] / "README.md"), module_relative=False)
    assert result.attempted >= 3
    assert result.failed == 0


def test_package_docstring_example_runs():
    result = doctest.testmod(qat_data)
    assert result.attempted >= 4
    assert result.failed == 0


def test_public_names_are_sorted_and_exist():
    assert qat_data.__all__ == sorted(qat_data.__all__)
    assert all(hasattr(qat_data, name) for name in qat_data.__all__)
