"""Each tutorial uses one package alone, and does what its page shows."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .run_page import NotInstalled, PageError, blocks, run

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "tutorials"
PRODUCTS = ("qat-data", "qat-gate", "qat-qc", "qat-report", "qat-train")
TRAINING = ("qat-qc", "qat-train")  # import torch, and train for a while


@pytest.mark.parametrize(
    "package", [pytest.param(name, marks=[pytest.mark.slow] if name in TRAINING else []) for name in PRODUCTS]
)
def test_the_page_of_a_package_does_what_it_shows(package, tmp_path):
    command = [sys.executable, Path(__file__).with_name("run_page.py"), PAGES / f"{package}.md"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", PRODUCTS)
def test_a_page_uses_no_other_package_of_this_project(package):
    own = {package, "qat-artifacts"}  # every package brings the latter along
    code = blocks((PAGES / f"{package}.md").read_text(encoding="utf-8"))
    python = "\n".join(block.code for block in code if block.language == "python")
    imported = {
        name.partition(".")[0].replace("_", "-")
        for node in ast.walk(ast.parse(python))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
        + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
    }
    called = {word for block in code if block.language == "sh" for word in re.findall(r"(?<!\S)qat-\w+", block.code)}
    assert {name for name in imported | called if name.startswith("qat-")} <= own
    assert package in called, "a page installs its package and calls it"


def test_the_index_leads_to_every_page():
    text = (PAGES / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\((qat-\w+)\.md\)", text)) == sorted(PRODUCTS)
    assert sorted(path.stem for path in PAGES.glob("*.md")) == sorted([*PRODUCTS, "index"])


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Runs a page of these blocks, each (info string, content), in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def make(*parts):
        path = tmp_path / "page.md"
        path.write_text("".join(f"Some words.\n\n```{info}\n{text}\n```\n\n" for info, text in parts))
        return run(path)

    return make


def test_blocks_run_in_order_in_one_namespace_and_one_folder(page):
    count = page(
        ("python", "word = 'seen'"),
        ('toml title="a.toml"', "x = 1"),
        ("python", "print(word, open('a.toml').read())"),
        ("text", "seen x = 1\n"),
        ("sh", "cat a.toml"),
        ("text", "x = 1"),
        ("console", "this is shown alone"),
    )
    assert count == 4


def test_what_differs_is_named_with_its_line(page):
    with pytest.raises(PageError, match=r"page\.md:4: prints something else(.|\n)*-2\n\+3"):
        page(("python", "print(3)"), ("text", "2"))


def test_dots_stand_for_any_text(page):
    page(("python", "print('a 0.123 b')\nprint('x\\ny')\nprint('end')"), ("text", "a 0.1... b\n...\nend"))
    with pytest.raises(PageError, match="prints something else"):
        page(("python", "print('a 0.223 b')"), ("text", "a 0.1... b"))


@pytest.mark.parametrize("block", [("python", "print(1)"), ("sh", "echo 1")])
def test_an_output_that_the_page_does_not_show_is_an_error(page, block):
    with pytest.raises(PageError, match=r"prints something else(.|\n)*\+1"):
        page(block)


def test_code_that_fails_is_named_with_its_line(page):
    with pytest.raises(PageError, match=r"page\.md:10: ZeroDivisionError"):
        page(("python", "a = 0"), ("python", "1 / a"))
    with pytest.raises(PageError, match=r"page\.md:4: exit code 3"):
        page(("sh", "(exit 3)\necho unreached"))


def test_an_output_without_code_is_an_error(page):
    with pytest.raises(PageError, match="line 3: an output that follows no block that prints"):
        page(("text", "1"))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("pip install no-such-thing-here", "no-such-thing-here is not installed"),
        ("pip install 'pytest<1'", r"pytest [0-9.]+ is installed; the page asks for pytest<1"),
    ],
)
def test_what_a_page_installs_has_to_be_there(page, line, text):
    with pytest.raises(NotInstalled, match=text):
        page(("sh", line))


def test_an_installed_package_is_not_installed_again(page):
    page(("sh", "pip install pytest 'packaging>=20'  # both are there"))
