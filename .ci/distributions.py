"""Do the wheel and the sdist of a package hold what they should, and does installing it pull nothing heavy?

    python .ci/distributions.py files qat-gate dist                # the two files in dist/, against packages/qat-gate
    python .ci/distributions.py light qat-gate SITE-PACKAGES       # an environment that holds this package alone

Exit code 1 with a line for each fault.
"""

import importlib.metadata
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from packaging.metadata import Metadata
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# All that comes with a package whose promise is to be light, on any system.
LIGHT = {
    "qat-artifacts": {"attrs", "cattrs", "typing-extensions"},
    "qat-gate": {"attrs", "cattrs", "typing-extensions", "qat-artifacts", "click", "colorama", "tomli"},
}
_MADE = {"PKG-INFO", ".gitignore"}  # by the build, beside the files of the package
_PAPERS = ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml")


def tracked(package: str, root: Path = ROOT) -> set[str]:
    """Files of the package that git knows or would, relative to its folder."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"packages/{package}"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    return {path.removeprefix(f"packages/{package}/") for path in listed if (root / path).is_file()}


def faults(package: str, dist: Path, wanted: set[str]) -> Iterator[str]:
    """What is wrong with the wheel and the sdist of a package in `dist`, one line each.

    Args:
        package: its name, such as "qat-gate".
        dist: folder with one wheel and one sdist of it.
        wanted: the files that the sdist should hold, relative to the package's folder.
    """
    name = package.replace("-", "_")
    wheels, sdists = sorted(dist.glob(f"{name}-*.whl")), sorted(dist.glob(f"{name}-*.tar.gz"))
    if (len(wheels), len(sdists)) != (1, 1):
        yield f"{dist}: {len(wheels)} wheels and {len(sdists)} sdists of {package}, one of each is expected"
        return
    with tarfile.open(sdists[0]) as archive:
        members = {str(PurePosixPath(*PurePosixPath(m.name).parts[1:])): m for m in archive if m.isfile()}
        described = archive.extractfile(members["PKG-INFO"]) if "PKG-INFO" in members else None
        yield from _metadata_faults(sdists[0].name, package, described.read() if described else b"")
    with zipfile.ZipFile(wheels[0]) as archive:
        held = set(archive.namelist())
        info = f"{'-'.join(wheels[0].name.split('-')[:2])}.dist-info"
        yield from _metadata_faults(wheels[0].name, package, archive.read(f"{info}/METADATA"))
    yield from _difference(sdists[0].name, set(members) - _MADE, wanted)
    yield from (f"{sdists[0].name}: lacks {paper}" for paper in _PAPERS if paper not in members)
    if not any(path.startswith("tests/test_") for path in members):
        yield f"{sdists[0].name}: holds no tests"
    code = {path.removeprefix("src/") for path in wanted if path.startswith("src/")}
    yield from _difference(wheels[0].name, {path for path in held if not path.startswith(info)}, code)
    if f"{info}/licenses/LICENSE" not in held:
        yield f"{wheels[0].name}: lacks the text of its licence"


def _metadata_faults(file: str, package: str, text: bytes) -> Iterator[str]:
    try:
        found = Metadata.from_email(text, validate=True)  # strict: what an index would refuse on upload
    except ExceptionGroup as group:
        yield from (f"{file}: {error}" for error in group.exceptions)
        return
    if canonicalize_name(found.name) != package:
        yield f"{file}: its name is {found.name}"
    if not (found.license_expression and found.summary and found.requires_python):
        yield f"{file}: licence, summary and Python version have to be stated"
    if found.description_content_type != "text/markdown" or f"# {package}" not in (found.description or ""):
        yield f"{file}: its description is not the README"


def _difference(file: str, held: set[str], wanted: set[str]) -> Iterator[str]:
    yield from (f"{file}: lacks {path}" for path in sorted(wanted - held))
    yield from (f"{file}: holds {path}, which is no file of the package" for path in sorted(held - wanted))


def heavy(package: str, site: Path) -> Iterator[str]:
    """What an environment that holds a light package holds beside what is allowed."""
    installed = {canonicalize_name(found.name) for found in importlib.metadata.distributions(path=[str(site)])}
    if package not in installed:
        yield f"{site}: {package} is not installed here"
    pulled = sorted(installed - LIGHT[package] - {package})
    yield from (f"{package} pulls {name}, which LIGHT does not allow" for name in pulled)


def main() -> int:
    """Check what the command line names; the exit code."""
    what, package, place = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if what == "files":
        found = list(faults(package, place, tracked(package)))
    elif package in LIGHT:
        found = list(heavy(package, place))
    else:
        print(f"{package}: may be heavy")
        return 0
    for fault in found:
        print(fault, file=sys.stderr)
    print(f"{package}: {len(found)} faults" if found else f"{package}: {what}: as it should be")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
