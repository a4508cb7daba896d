"""The tree as a whole: names, lengths, and what must not be in it."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import tomli

ROOT = Path(__file__).parents[2]
REGISTRY_HOSTS = re.compile(r"files\.pythonhosted\.org|pypi\.org|registry\.npmjs\.org|deb\.debian\.org")
MACHINE_PATHS = re.compile(r"(^|[^\w.-])/(work|farm|root|tmp/w)/", re.MULTILINE)
LARGEST = 6 * 1000 * 1000  # bytes; weights and runs do not belong in a repository


def tracked():
    """Files that git tracks or would track."""
    listing = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no git repository: {done.stderr.strip()}")
    return [ROOT / name for name in sorted(set(done.stdout.split("\0"))) if name and (ROOT / name).is_file()]


def texts():
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            yield path.relative_to(ROOT).as_posix(), data.decode("utf-8")


def test_test_files_have_unique_names_because_pytest_may_import_only_one_of_two():
    names = Counter(path.name for folder in ("packages", "tests") for path in (ROOT / folder).rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_tests_are_no_packages():
    folders = [ROOT / "tests", *ROOT.glob("packages/*/tests")]
    assert [path for folder in folders for path in folder.rglob("__init__.py")] == []


def test_every_package_has_tests():
    assert [path.name for path in ROOT.glob("packages/*") if not list(path.glob("tests/test_*.py"))] == []


def test_modules_stay_below_400_lines():
    modules = [*ROOT.glob("packages/*/src/**/*.py"), ROOT / "tasks.py", ROOT / "noxfile.py"]
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in modules
        if path.is_file() and (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


def test_no_module_is_named_after_nothing():
    vague = {"utils.py", "common.py", "helpers.py", "misc.py"}
    assert [path for path in ROOT.glob("packages/*/src/**/*.py") if path.name in vague] == []


def test_no_registry_host_and_no_path_of_one_machine_is_in_the_tree():
    found = [
        f"{name}: {match[0].strip()}"
        for name, text in texts()
        for pattern in (REGISTRY_HOSTS, MACHINE_PATHS)
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_no_file_is_over_6_megabytes():
    assert [path.name for path in tracked() if path.stat().st_size > LARGEST] == []


def test_requirements_install_every_package_under_the_constraints_and_what_an_export_needs():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    packages = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))
    trained = tomli.loads((ROOT / "packages/qat-train/pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = [re.match(r"[\w.-]+", text)[0] for text in trained["optional-dependencies"]["export"]]
    assert [line for line in lines if not line.startswith("#")] == [
        "-c constraints.txt",
        *(f"-e packages/{name}" for name in packages),
        *extra,
    ]


def test_every_dependency_has_an_exact_version_in_the_constraints():
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", constraints, re.MULTILINE))
    needed = {
        re.match(r"[\w.-]+", text)[0].replace("_", "-").lower()
        for file in ROOT.glob("packages/*/pyproject.toml")
        for text in tomli.loads(file.read_text(encoding="utf-8"))["project"]["dependencies"]
    }
    assert sorted(name for name in needed if name not in pinned and not name.startswith("qat-")) == []


def test_constraints_leave_to_torch_what_torch_pins_itself():
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert re.findall(r"^(?:nvidia-(?!modelopt|ml-py)|cuda-|triton|qat-).*", constraints, re.MULTILINE) == []
