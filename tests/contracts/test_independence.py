"""Each part loads what it promises to load, and no more."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "ultralytics", "modelopt", "matplotlib")


def loaded(code):
    """Heavy modules that `code` has loaded in a fresh interpreter."""
    probe = f"import sys\n{code}\nprint('loaded:' + ','.join(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(filter(None, done.stdout.rpartition("loaded:")[2].strip().split(",")))


HELP = "import runpy\ntry:\n runpy.run_module('{0}', run_name='__main__', alter_sys=True)\nexcept SystemExit:\n pass"


@pytest.mark.parametrize("package", ["qat_gate", "qat_artifacts"])
def test_importing_them_loads_neither_torch_nor_numpy(package):
    assert loaded(f"import {package}") == set()


def test_the_help_of_the_gate_loads_neither_torch_nor_numpy():
    assert loaded("sys.argv = ['qat-gate', '--help']\n" + HELP.format("qat_gate")) == set()


@pytest.mark.parametrize("package", ["qat_data", "qat_train", "qat_qc", "qat_report"])
def test_the_help_of_every_other_part_loads_no_torch(package):
    assert "torch" not in loaded(f"sys.argv = ['{package}', '--help']\n" + HELP.format(package))


def test_listing_the_tasks_loads_nothing_heavy():
    assert loaded("import qat_ladder.tasks\nqat_ladder.tasks.collection()") == set()


def test_the_planted_import_would_be_seen():
    assert loaded("import numpy") == {"numpy"}
