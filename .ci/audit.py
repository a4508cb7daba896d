"""Known vulnerabilities of the packages in an environment, as pip-audit's service knows them.

    python .ci/audit.py SITE-PACKAGES [options of pip-audit]

Exit codes: 0 the service was asked and knows none, 1 it knows some, 7 it could not be asked: then nothing is known.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

NOT_ASKED = 7  # environment or resource, as everywhere in this project


def audit(site: str, options: list[str]) -> int:
    """Ask, say what came of it, and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"  # pip-audit writes it once it is done, whatever it found
        words = ["--path", site, "--format", "json", "--output", str(report), "--progress-spinner", "off"]
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *words, *options], capture_output=True, text=True, check=False
        )
        if not report.is_file():
            why = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            print(f"audit: NOT DONE, nothing is known about vulnerabilities: pip-audit was not answered ({why})")
            return NOT_ASKED
        found = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
    asked = [package for package in found if "skip_reason" not in package]
    hit = [package for package in asked if package["vulns"]]
    for package in hit:
        for known in package["vulns"]:
            repaired = ", ".join(known["fix_versions"]) or "no release"
            print(f"audit: {package['name']} {package['version']}: {known['id']}, repaired in {repaired}")
    for package in found:
        if "skip_reason" in package:
            print(f"audit: not asked about {package['name']}: {package['skip_reason']}")
    if not asked:
        print(f"audit: NOT DONE, nothing is known about vulnerabilities: no package of {site} could be asked about")
        return NOT_ASKED
    print(f"audit: {len(hit)} of {len(asked)} packages have known vulnerabilities")
    return 1 if hit else 0


if __name__ == "__main__":
    sys.exit(audit(sys.argv[1], sys.argv[2:]))
