"""Checks of the whole repository.

`nox` runs the default sessions, `nox -s "tests(qat-gate)"` one of them, `nox -l` lists all. What follows `--` goes to
the tool: `nox -s contracts -- -k pixi`. Every session installs under constraints.txt; with uv, environments share their
files through hard links, so the second one with torch costs seconds.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True

ROOT = Path(__file__).parent
PACKAGES = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))
PYTEST = ("pytest", "hypothesis", "markdown-it-py")  # the last reads summary.md as GitHub does
# The same examples every time: a gate that fails by chance is no gate; plain pytest goes on searching.
QUICK = ("-m", "not slow and not gpu", "--hypothesis-profile=ci")


def _project(package: str) -> dict[str, Any]:
    found: dict[str, Any] = nox.project.load_toml(ROOT / "packages" / package / "pyproject.toml")["project"]
    return found


def _siblings(package: str) -> list[str]:
    """The package and every package of this repository that it depends on."""
    project = _project(package)
    names = {Requirement(text).name for text in project["dependencies"]}
    found = {package}.union(*(_siblings(name) for name in names & set(PACKAGES)))
    return sorted(found)


def _install(session: nox.Session, packages: list[str], *tools: str) -> None:
    """Install packages from the checkout, never from an index, and tools."""
    # Editable: uv caches the wheel of a folder, and a kept environment would go on testing yesterday's source.
    # With every extra: a test of an optional part that is skipped everywhere tests nothing.
    extras = {name: ",".join(_project(name).get("optional-dependencies", {})) for name in packages}
    editable = [part for name in packages for part in ("-e", f"packages/{name}[{extras[name]}]")]
    session.install("-c", "constraints.txt", *editable, *tools)


# What the tests of a package read of the repository, beside their own folder: the project that they are tests of.
NEIGHBOURS = {
    "qat-ladder": ("configs", "assets", "tasks.py", "tests/contracts/golden", "packages/qat-report/tests/fixtures")
}


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, and who may import whom."""
    session.install("-c", "constraints.txt", "ruff", "import-linter")
    session.run("ruff", "check", *session.posargs, ".")
    session.run("ruff", "format", "--check", ".")
    # The contracts are checked on source text, so nothing has to be installed.
    sources = ":".join(str(ROOT / "packages" / name / "src") for name in PACKAGES)
    session.run("lint-imports", env={"PYTHONPATH": sources})


@nox.session
def types(session: nox.Session) -> None:
    """Strict mypy over every package and the tasks."""
    _install(session, PACKAGES, "mypy", "types-PyYAML")
    session.run("mypy", *session.posargs, *(f"packages/{name}/src" for name in PACKAGES), "tasks.py")


@nox.session
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def tests(session: nox.Session, package: str) -> None:
    """Tests of one package with only that package installed: each stands alone."""
    _install(session, _siblings(package), *PYTEST)
    session.run("pytest", f"packages/{package}/tests", *QUICK, *session.posargs)


@nox.session
def contracts(session: nox.Session) -> None:
    """What no single package can test: contracts, integration and the repository, with everything installed."""
    _install(session, PACKAGES, *PYTEST, "jsonschema", "nox")
    session.run("pytest", "tests", *QUICK, *session.posargs)


@nox.session(default=False)
def slow(session: nox.Session) -> None:
    """Tests marked slow, of all packages; `nox -s slow -- -m gpu` runs those that need a CUDA device."""
    _install(session, PACKAGES, *PYTEST, "jsonschema", "nox")
    session.run("pytest", "packages", "tests", "-m", "slow and not gpu", *session.posargs)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Every fault, the slow ones too, with everything installed; writes docs/faults.md."""
    _install(session, PACKAGES, *PYTEST, "jsonschema", "nox", "pip-audit", "cyclonedx-bom")
    session.run("pytest", "tests/faults", "-m", "not gpu", "--faults-table", "docs/faults.md", *session.posargs)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """The documentation site, into site/; a broken link or a page that the navigation lacks fails."""
    # mkdocs-material and docs/hooks.py are for mkdocs 1.
    tools = ("mkdocs<2", "mkdocs-material", "mkdocstrings[python]", "latex2mathml", "ruff")  # ruff breaks signatures
    _install(session, PACKAGES, *tools, "mypy", "types-PyYAML")
    sources = ("docs/hooks.py", "docs/generate", "docs/concepts/draw.py")
    session.run("mypy", "--explicit-package-bases", *sources, env={"MYPYPATH": "docs"})
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Benchmarks: the functions in bench_*.py, with pytest-benchmark's table."""
    _install(session, PACKAGES, *PYTEST, "pytest-benchmark")
    session.run("pytest", "-o", "python_files=bench_*.py", "packages", "tests", *session.posargs)


@nox.session(default=False)
def sbom(session: nox.Session) -> None:
    """Bill of materials of everything installed, CycloneDX JSON, into dist/sbom.cdx.json."""
    _install(session, PACKAGES)
    tool = Path(session.create_tmp()) / "tool"  # apart: the bill lists what the products need, not what wrote it
    session.run("python", "-m", "venv", str(tool))
    session.run(str(tool / "bin/pip"), "install", "-q", "-c", "constraints.txt", "cyclonedx-bom", external=True)
    python = str(Path(session.bin) / "python")
    session.run(str(tool / "bin/python"), ".ci/sbom.py", python, "dist/sbom.cdx.json", *session.posargs, external=True)


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of everything installed; exit code 7 where the service could not be asked."""
    _install(session, PACKAGES, "pip-audit")
    python = Path(session.bin) / "python"
    where = session.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", silent=True)
    done = subprocess.run([python, ".ci/audit.py", str(where).strip(), *session.posargs], check=False)
    if done.returncode:
        sys.exit(done.returncode)  # nox itself knows only 0 and 1


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Wheels and sdists into dist/, each tried alone; `-- qat-gate -k seeds`: this one, by some of its tests."""
    chosen = [word for word in session.posargs if word in PACKAGES] or PACKAGES
    rest = [word for word in session.posargs if word not in PACKAGES]
    session.install("-c", "constraints.txt", "build", "hatchling", "packaging", "uv")
    for package in sorted(set().union(*map(_siblings, chosen))):
        for stale in (ROOT / "dist").glob(f"{package.replace('-', '_')}-*"):
            stale.unlink()
        # The wheel is built from the sdist: what the one lacks the other lacks too.
        session.run("python", "-m", "build", "--no-isolation", "--outdir", "dist", f"packages/{package}")
        session.run("python", ".ci/distributions.py", "files", package, "dist")
    for package in chosen:
        _try_alone(session, package, *rest)


def _try_alone(session: nox.Session, package: str, *arguments: str) -> None:
    """Install a wheel and those of its siblings into an empty environment, and run the tests of its sdist there."""
    place = Path(session.create_tmp()).resolve() / package
    shutil.rmtree(place, ignore_errors=True)
    python = place / "env" / "bin" / "python"
    session.run("uv", "venv", "--quiet", "--python", str(Path(session.bin) / "python"), str(place / "env"))

    def install(extras: str, *tools: str) -> None:
        # By their files: ours are never asked of an index, where somebody else's may lie under the same name.
        wheels = {name: next((ROOT / "dist").glob(f"{name.replace('-', '_')}-*.whl")) for name in _siblings(package)}
        files = [f"{name}{extras if name == package else ''} @ {path.as_uri()}" for name, path in wheels.items()]
        session.run("uv", "pip", "install", "--python", str(python), "-c", "constraints.txt", *files, *tools)

    install("")
    session.run("uv", "pip", "check", "--python", str(python))
    site = next((place / "env" / "lib").glob("python*/site-packages"))
    session.run("python", ".ci/distributions.py", "light", package, str(site))
    with session.chdir(place):  # nothing of the checkout is found from here
        session.run(str(python), "-c", f"import {package.replace('-', '_')}", external=True)
        for script in _project(package).get("scripts", {}):
            session.run(str(place / "env" / "bin" / script), "--help", external=True, silent=True)
    install(f"[{','.join(_project(package).get('optional-dependencies', {}))}]", *PYTEST)
    # Where its tests look for the project that they are tests of: two folders up.
    source = place / "packages" / package
    shutil.unpack_archive(next((ROOT / "dist").glob(f"{package.replace('-', '_')}-*.tar.gz")), place, filter="data")
    source.parent.mkdir()
    next(place.glob(f"{package.replace('-', '_')}-*")).rename(source)
    for name in NEIGHBOURS.get(package, ()):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, place / name)
    with session.chdir(source):
        config = ("-c", str(ROOT / "pyproject.toml"), f"--rootdir={source}")  # configured once, for all packages
        session.run(str(python), "-m", "pytest", *config, "tests", *QUICK, *arguments, external=True)
    page, runner = ROOT / "docs" / "tutorials" / f"{package}.md", ROOT / "tests" / "tutorials" / "run_page.py"
    if page.is_file() and not arguments:
        needed = str(session.run(str(python), str(runner), "--needs", str(page), external=True, silent=True)).split(
            "\n"
        )
        install("", *(line for line in needed if line and Requirement(line).name not in PACKAGES))
        (place / "tutorial").mkdir()
        with session.chdir(place / "tutorial"):
            session.run(str(python), str(runner), str(page), external=True)
