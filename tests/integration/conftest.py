"""What the integration tests share."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Somebody's COCO root."""
    root = tmp_path_factory.mktemp("user") / "coco"
    command = [sys.executable, "-m", "qat_data", "synth", "--out", root, "--images", "20", "--val-images", "10"]
    subprocess.run([*map(str, command), "--imgsz", "96", "--seed", "3"], check=True, capture_output=True)
    return root
