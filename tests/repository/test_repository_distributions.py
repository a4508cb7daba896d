"""What `nox -s build` refuses in a wheel or an sdist, and what light packages may bring along."""

import importlib.metadata
import importlib.util
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("distributions", ROOT / ".ci" / "distributions.py")
distributions = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(distributions)

METADATA = """Metadata-Version: 2.4
Name: {name}
Version: 0.1.0
Summary: Measures
License-Expression: Apache-2.0
Requires-Python: >=3.11
Description-Content-Type: text/markdown

# qat-ruler
"""
PAPERS = ["LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"]
FILES = [*PAPERS, "src/qat_ruler/__init__.py", "src/qat_ruler/py.typed", "tests/test_ruler_reads.py"]


@pytest.fixture
def dist(tmp_path):
    """Writes a wheel and an sdist of qat-ruler with these files; returns what is wrong with them."""

    def faults(*, sdist=(*FILES, "PKG-INFO"), wheel=None, metadata=METADATA, name="qat-ruler"):
        text = metadata.format(name=name)
        with tarfile.open(tmp_path / "qat_ruler-0.1.0.tar.gz", "w:gz") as archive:
            for path in sdist:
                member = tarfile.TarInfo(f"qat_ruler-0.1.0/{path}")
                content = text.encode() if path == "PKG-INFO" else b""
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        info = "qat_ruler-0.1.0.dist-info"
        code = [path.removeprefix("src/") for path in FILES if path.startswith("src/")]
        held = [*code, f"{info}/licenses/LICENSE", f"{info}/RECORD"] if wheel is None else wheel
        with zipfile.ZipFile(tmp_path / "qat_ruler-0.1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{info}/METADATA", text)
            for path in held:
                archive.writestr(path, "")
        return list(distributions.faults("qat-ruler", tmp_path, set(FILES)))

    return faults


def test_whole_files_have_no_fault(dist):
    assert dist() == []


def test_a_file_that_is_missing_or_one_too_many_is_named(dist):
    assert dist(sdist=[*FILES[:-1], "PKG-INFO", ".hypothesis/examples/a"]) == [
        "qat_ruler-0.1.0.tar.gz: lacks tests/test_ruler_reads.py",
        "qat_ruler-0.1.0.tar.gz: holds .hypothesis/examples/a, which is no file of the package",
        "qat_ruler-0.1.0.tar.gz: holds no tests",
    ]
    assert dist(wheel=["qat_ruler/__init__.py", "tests/test_ruler_reads.py"]) == [
        "qat_ruler-0.1.0-py3-none-any.whl: lacks qat_ruler/py.typed",
        "qat_ruler-0.1.0-py3-none-any.whl: holds tests/test_ruler_reads.py, which is no file of the package",
        "qat_ruler-0.1.0-py3-none-any.whl: lacks the text of its licence",
    ]


def test_papers_are_needed_even_where_git_does_not_know_them(dist):
    assert "qat_ruler-0.1.0.tar.gz: lacks LICENSE" in dist(sdist=[*FILES[1:], "PKG-INFO"])


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("Name: {name}", "Name: other", "its name is other"),
        ("Version: 0.1.0", "Version: first", "'first' is invalid for 'version'"),
        ("License-Expression: Apache-2.0\n", "", "licence, summary and Python version have to be stated"),
        ("text/markdown", "text/plain", "its description is not the README"),
        ("Apache-2.0", "Apache", "'Apache' is invalid for 'license-expression'"),
    ],
)
def test_metadata_that_an_index_would_refuse_are_a_fault(dist, old, new, text):
    assert any(text in fault for fault in dist(metadata=METADATA.replace(old, new)))


def test_no_wheel_at_all_is_a_fault(tmp_path):
    assert list(distributions.faults("qat-ruler", tmp_path, set())) == [
        f"{tmp_path}: 0 wheels and 0 sdists of qat-ruler, one of each is expected"
    ]


def closure(name):
    """Everything that installing a distribution brings, by the metadata of what is installed here."""
    found, waiting = set(), [name]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            needed = map(Requirement, importlib.metadata.requires(name) or [])
            waiting += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.parametrize("package", sorted(distributions.LIGHT))
def test_a_light_package_brings_nothing_else_along(package):
    assert closure(package) - {package} <= distributions.LIGHT[package]
    assert closure(package) & {"numpy", "torch", "pandas", "matplotlib", "pillow"} == set()


def test_a_heavy_package_is_seen_to_be_one():
    assert {"numpy", "pillow"} <= closure("qat-data")


def test_what_an_environment_holds_beside_the_allowed_is_named(tmp_path):
    for name in ("qat_gate", "attrs", "numpy"):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    assert list(distributions.heavy("qat-gate", tmp_path)) == ["qat-gate pulls numpy, which LIGHT does not allow"]
    assert len(list(distributions.heavy("qat-artifacts", tmp_path))) == 3  # not there itself, beside two others
