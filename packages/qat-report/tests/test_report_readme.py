import doctest
from pathlib import Path

import qat_report

README = Path(__file__).parents[1] / "README.md"


def test_example_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testfile(str(README), module_relative=False) == (0, 9)


def test_example_of_the_package_runs():
    assert doctest.testmod(qat_report).failed == 0


def test_every_public_name_exists():
    assert all(hasattr(qat_report, name) for name in qat_report.__all__)
