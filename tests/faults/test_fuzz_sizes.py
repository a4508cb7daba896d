"""A small file that claims a large size takes no large memory: it is refused, or read for what it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = Path(__file__).parent / "fuzz" / "hostile.py"
NAMED = {"DataError", "ReportError", "NotAnArtifact", "InvalidArtifact", "ConfigError", "InputError"}
# Nothing of that size is made of these: `prepare` compares an image with what is said of it, and a memo is a mapping.
HARMLESS = {"an image of 10^12 pixels", "a memo at place 2^31"}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by setrlimit, and counted in /proc")
@pytest.mark.fault("extra-sizes", "a file of kilobytes that claims terabytes is refused in one gigabyte", how="real")
@pytest.mark.parametrize(("group", "number"), [("light", 11), ("weights", 9)])
def test_a_claim_of_terabytes_is_refused_within_a_gigabyte(group, number, tmp_path, record_property):
    done = subprocess.run(
        [sys.executable, str(HOSTILE), group, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    ended = {case["case"]: case for case in map(json.loads, done.stdout.splitlines())}
    assert len(ended) == number
    wrong = [c for c in ended.values() if c["ended"] not in (NAMED | ({"read"} if c["case"] in HARMLESS else set()))]
    assert not wrong, wrong
    record_property("fuzz executions", number)
