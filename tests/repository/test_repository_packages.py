"""Every package has what a distribution needs, and says the truth about itself."""

import importlib
from pathlib import Path

import pytest
import tomli

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
LICENCES = {"qat-train": "AGPL-3.0-or-later"}  # it derives from ultralytics; the others do not import it

pytestmark = pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)


def project(folder):
    return tomli.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def module(folder):
    return importlib.import_module(folder.name.replace("-", "_"))


def test_distribution_is_named_after_its_folder(folder):
    assert project(folder)["name"] == folder.name
    assert [path.name for path in (folder / "src").iterdir() if not path.name.endswith(".egg-info")] == [
        folder.name.replace("-", "_")
    ]


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "LICENSE"])
def test_papers_are_there(folder, name):
    assert (folder / name).read_text(encoding="utf-8").strip()


def test_package_is_typed_and_says_so(folder):
    assert (folder / "src" / folder.name.replace("-", "_") / "py.typed").is_file()
    assert "Typing :: Typed" in project(folder)["classifiers"]


def test_licence_is_the_chosen_one_in_metadata_text_and_readme(folder):
    licence = LICENCES.get(folder.name, "Apache-2.0")
    title = {"Apache-2.0": "Apache License", "AGPL-3.0-or-later": "GNU AFFERO GENERAL PUBLIC LICENSE"}[licence]
    assert project(folder)["license"] == licence
    assert title in (folder / "LICENSE").read_text(encoding="utf-8")
    assert licence.removesuffix("-or-later") in (folder / "README.md").read_text(encoding="utf-8")


def test_readme_begins_with_the_name_and_says_what_stands_alone(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    siblings = [text for text in project(folder)["dependencies"] if text.startswith("qat-")]
    alone = all(text.startswith("qat-artifacts") for text in siblings)
    assert text.startswith(f"# {folder.name}\n")
    assert ("depends on no sibling" in " ".join(text.split()).lower()) == alone


def test_changelog_keeps_a_changelog(folder):
    assert "## [Unreleased]" in (folder / "CHANGELOG.md").read_text(encoding="utf-8")


def kind(name):
    """Ruff's order of public names: constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_public_names_are_declared_sorted_and_importable(folder):
    package = module(folder)
    assert package.__doc__
    assert package.__all__
    assert list(package.__all__) == sorted(package.__all__, key=kind)
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_sibling_versions_are_ranges_not_pins(folder):
    siblings = [text for text in project(folder)["dependencies"] if text.startswith("qat-")]
    assert [text for text in siblings if not text.endswith(">=0.1,<0.2")] == []


def test_lint_and_type_rules_are_not_configured_here_but_once_for_all(folder):
    tools = tomli.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
    assert set(tools) == {"hatch"}
