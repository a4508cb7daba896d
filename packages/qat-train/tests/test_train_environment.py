"""What is set before torch and Ultralytics are imported: seen from a process of its own, which imports nothing else."""

import os
import subprocess
import sys

import pytest

_ASK = """\
import os, sys
from qat_train.environment import prepare_environment
print(prepare_environment(3), os.environ["OMP_NUM_THREADS"], os.environ["NVIDIA_TF32_OVERRIDE"], "torch" in sys.modules)
"""


@pytest.mark.parametrize(("given", "found"), [(None, "0"), ("1", "1")])
def test_fp32_is_fp32_unless_the_user_says_otherwise(given, found, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "NVIDIA_TF32_OVERRIDE"}
    environment |= {"YOLO_CONFIG_DIR": str(tmp_path)} | ({"NVIDIA_TF32_OVERRIDE": given} if given else {})
    done = subprocess.run([sys.executable, "-c", _ASK], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "3", found, "False"]
