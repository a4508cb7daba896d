"""What is installed: releases known as bad are excluded, the bill of materials is portable, an audit never guesses."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tomli
import yaml
from packaging.requirements import Requirement

from qat_data import yolo

ROOT = Path(__file__).parents[2]
# Releases that must not be installed, by what their sources say.
BAD = {
    "ultralytics": ("8.3.41", "8.3.42", "8.3.45", "8.3.46"),  # a miner: github.com/ultralytics/ultralytics/issues/18027
    "torch": ("2.5.1", "2.9.1"),  # weights_only runs code: CVE-2025-32434 before 2.6, CVE-2026-24747 before 2.10
    "pillow": ("11.2.1", "12.3.0"),  # a JPEG writes outside its buffer: GHSA-8g5g-8vmr-9782 before 13
    "filelock": ("3.20.2",),  # a link in place of the lock: CVE-2025-68146, CVE-2026-22701 before 3.20.3
    "pyyaml": ("5.3.1",),  # full_load runs code: CVE-2020-14343 before 5.4
}


def requirements():
    for file in sorted(ROOT.glob("packages/*/pyproject.toml")):
        project = tomli.loads(file.read_text(encoding="utf-8"))["project"]
        extras = [text for texts in project.get("optional-dependencies", {}).values() for text in texts]
        for text in [*project["dependencies"], *extras]:
            yield file.parent.name, Requirement(text)


@pytest.mark.fault(
    "extra-bad-releases", "releases known as compromised or open to files are outside the ranges", how="real"
)
@pytest.mark.parametrize("name", BAD)
def test_known_bad_releases_are_outside_every_range(name):
    asking = [(package, found) for package, found in requirements() if found.name.lower() == name]
    assert asking
    for package, found in asking:
        assert [version for version in BAD[name] if found.specifier.contains(version)] == [], package


def test_every_dependency_is_a_range_with_a_lower_bound():
    for package, found in requirements():
        assert {part.operator for part in found.specifier} & {">=", "~="}, f"{package}: {found}"


def test_every_pin_lies_in_the_ranges():
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().lower().splitlines() if "==" in line
    )
    for package, found in requirements():
        name = found.name.lower().replace("_", "-")
        if name in pins:
            assert found.specifier.contains(pins[name]), f"{package}: {found}"


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Audit ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def asking(tmp_path, monkeypatch, capsys):
    """Run the audit with another pip_audit; returns exit code and text."""

    def ask(source):
        (tmp_path / "pip_audit.py").write_text(source, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return tool("audit").audit("site", []), capsys.readouterr().out

    return ask


WRITES = "import sys, json\nopen(sys.argv[sys.argv.index('--output') + 1], 'w').write({report!r})\nsys.exit({code})\n"


def report(*packages):
    return json.dumps({"dependencies": list(packages), "fixes": []})


CLEAN = {"name": "a", "version": "1", "vulns": []}
HIT = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"], "aliases": [], "description": ""}],
}
UNKNOWN = {"name": "qat-train", "skip_reason": "not found on PyPI"}


@pytest.mark.fault(
    "extra-audit", "an audit says what was found, and about what nobody was asked", how="simulated: pip_audit"
)
@pytest.mark.parametrize(
    ("packages", "code", "last"),
    [
        ((CLEAN, UNKNOWN), 0, "audit: 0 of 1 packages have known vulnerabilities"),
        ((CLEAN, HIT), 1, "audit: 1 of 2 packages have known vulnerabilities"),
        (
            (UNKNOWN,),
            7,
            "audit: NOT DONE, nothing is known about vulnerabilities: no package of site could be asked about",
        ),
    ],
)
def test_an_audit_reports_what_it_was_told(asking, packages, code, last):
    found, text = asking(WRITES.format(report=report(*packages), code=int(HIT in packages)))
    assert found == code
    assert text.splitlines()[-1] == last
    assert ("audit: b 2: PYSEC-1, repaired in 3" in text) == (HIT in packages)
    assert ("not asked about qat-train: not found on PyPI" in text) == (UNKNOWN in packages)


@pytest.mark.fault("extra-audit", "an audit that got no answer exits 7 and says so", how="simulated: pip_audit")
@pytest.mark.parametrize("code", [0, 1, 3])
def test_an_audit_without_an_answer_is_not_done(asking, code):
    found, text = asking(f"import sys\nprint('ConnectionError: no route', file=sys.stderr)\nsys.exit({code})\n")
    assert found == 7
    assert text == (
        "audit: NOT DONE, nothing is known about vulnerabilities: pip-audit was not answered "
        "(ConnectionError: no route)\n"
    )


@pytest.mark.fault("extra-audit", "pip-audit with an address that nobody answers: exit 7", how="real")
def test_an_unreachable_service_is_no_clean_bill(tmp_path):
    pytest.importorskip("pip_audit", reason="needs pip-audit, as `nox -s audit` installs it")
    about = tmp_path / "site" / "attrs-26.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: attrs\nVersion: 26.1.0\n")
    words = ["--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9/", "--timeout", "2"]
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/audit.py", tmp_path / "site", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stdout + done.stderr
    assert "NOT DONE, nothing is known about vulnerabilities" in done.stdout
    assert "have known" not in done.stdout


# Bill of materials ----------------------------------------------------------------------------------------------------


def test_a_bill_of_materials_names_no_folder_of_this_machine():
    local = {"type": "distribution", "url": "file:///home/somebody/repository/packages/qat-train"}
    web = {"type": "website", "url": "https://example.org"}
    made = tool("sbom").portable({"components": [{"name": "qat-train", "externalReferences": [local, web]}]})
    assert made == {"components": [{"name": "qat-train", "externalReferences": [web]}]}


@pytest.mark.slow
@pytest.mark.fault("extra-sbom", "the bill of materials is the same twice, and names no folder or host", how="real")
def test_the_bill_of_materials_is_reproducible(tmp_path):
    pytest.importorskip("cyclonedx_py", reason="needs cyclonedx-bom, as `nox -s sbom` installs it")
    for name in ("a", "b"):
        tool("sbom").describe(sys.executable, tmp_path / name)
    text = (tmp_path / "a").read_text()
    assert text == (tmp_path / "b").read_text()
    document = json.loads(text)
    assert document["bomFormat"] == "CycloneDX"
    assert {"qat-train", "torch", "ultralytics"} <= {found["name"] for found in document["components"]}
    assert "file:" not in text
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text
    assert not {"serialNumber", "timestamp"} & (document.keys() | document["metadata"].keys())


# Our own code ---------------------------------------------------------------------------------------------------------

SHELLS = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "asyncio.create_subprocess_shell",
}
EVALUATORS = {
    "eval",
    "exec",
    "pickle.load",
    "pickle.loads",
    "marshal.loads",
    "shelve.open",
    "yaml.load",
    "yaml.unsafe_load",
}

CHECKED = {("packages/qat-data/src/qat_data/yolo.py", "yaml.load")}  # with a SafeLoader, as is asked below


def sources():
    files = [*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob(".ci/*.py"), ROOT / "tasks.py", ROOT / "noxfile.py"]
    assert len(files) > 150
    return files


def calls(tree):
    return ((ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.fault("extra-shell", "no code of ours gives a string to a shell", how="real")
def test_no_code_runs_a_shell():
    found = []
    for path in sources():
        for name, call in calls(ast.parse(path.read_text(encoding="utf-8"))):
            shell = [word.value for word in call.keywords if word.arg == "shell"]
            if name in SHELLS or any(not (isinstance(v, ast.Constant) and v.value is False) for v in shell):
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}: {name}")
    assert found == []


@pytest.mark.fault("extra-pickle", "no code of ours evaluates text, and one place alone opens a pickle", how="real")
def test_no_code_evaluates_text_or_opens_pickles_but_one_place():
    found, opened = [], []
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        place = path.relative_to(ROOT).as_posix()
        for name, call in calls(tree):
            loose = any(
                word.arg == "allow_pickle" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
                for word in call.keywords
            )
            if (name in EVALUATORS and (place, name) not in CHECKED) or loose:
                found.append(f"{place}:{call.lineno}: {name}")
            if name == "torch.load":
                opened.append(place)
    assert found == []
    assert issubclass(yolo._Loader, yaml.SafeLoader)
    assert set(opened) == {"packages/qat-train/src/qat_train/unpickling.py"}
