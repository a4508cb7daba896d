"""One test of pytest-benchmark as a contestant: `python -m qat_ladder.bench.functions FILE::TEST` prints its time."""

import contextlib
import json
import sys
import tempfile
from pathlib import Path


def main(test: str) -> int:
    """Run a bench_*.py test and print {"seconds": the fastest round, ...}; its exit code where it fails."""
    import pytest

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["-q", "-o", "python_files=bench_*.py", f"--benchmark-json={report}"]
        with contextlib.redirect_stdout(sys.stderr):
            code = int(pytest.main([*options, test]))
        if code:
            return code
        (found,) = json.loads(report.read_bytes())["benchmarks"]
    print(json.dumps({"seconds": found["stats"]["min"], "rounds": found["stats"]["rounds"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
