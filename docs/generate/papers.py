"""Pages that are files of the repository outside docs/: the packages' papers, and sources that a page points at."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))
_LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json"}


def section(text: str, heading: str) -> str:
    """What stands under a level-2 heading of a Markdown file, without the heading; code blocks are skipped over.

    Raises:
        KeyError: there is no such heading.
    """
    found: list[str] | None = None
    fenced = False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("## ") and not fenced:
            if found is not None:
                break
            if line.removeprefix("## ").strip() == heading:
                found = []
        elif found is not None:
            found.append(line)
    if found is None:
        raise KeyError(f"there is no heading {heading!r}")
    return "\n".join(found).strip() + "\n"


def introduction(text: str) -> str:
    """What stands between the title and the first level-2 heading."""
    return text.partition("\n")[2].partition("\n## ")[0].strip() + "\n"


def api(package: str) -> str:
    """Page of a package's public names; mkdocstrings fills it from the sources, which it does not import."""
    return f"# {package.replace('-', '_')}\n\n::: {package.replace('-', '_')}\n"


def source(path: Path) -> str:
    """Page that shows a text file of the repository."""
    name = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    fence = "````"
    return f"# {path.name}\n\n`{name}`\n\n{fence}{_LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def changes(package: str) -> str:
    """Page of a package's changelog, under a title that says whose it is."""
    text = (ROOT / "packages" / package / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.replace("# Changelog", f"# Changes of {package}", 1)


def decisions() -> str:
    """List of the decisions, by their titles."""
    rows = []
    for path in sorted((ROOT / "docs" / "decisions").glob("0*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        rows.append(f"* [{title}]({path.name})")
    return "# Decisions\n\nWhat was decided where the design left it open, and why.\n\n" + "\n".join(rows) + "\n"
