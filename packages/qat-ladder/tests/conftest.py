"""A project folder with the real configuration files."""

import shutil
from pathlib import Path

import pytest

from qat_ladder.flags import Request

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path):
    """A copy of configs/ that a test may edit, and a demo checkpoint that is only a name."""
    shutil.copytree(REPOSITORY / "configs", tmp_path / "project" / "configs")
    (tmp_path / "project" / "assets").mkdir()
    (tmp_path / "project" / "assets" / "yolov10n-demo.pt").write_bytes(b"weights")
    return tmp_path / "project"


@pytest.fixture
def request_for(project, tmp_path):
    """Build a request; keywords as in `Request`."""

    def make(**flags):
        given = {
            "variant": "yolo10n",
            "project": project,
            "seeds": [0, 1],
            "methods": ["baseline", "ema", "ema+qc"],
            "root": tmp_path / "runs",
        }
        return Request(**given | flags)

    return make
