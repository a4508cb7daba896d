"""Every generated page by its place in the site, and the navigation over all pages."""

import fnmatch
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from generate import artifacts, commands, configuration, invoke_tasks, methods, papers

RECORDS = "results/*/summary.md"


def generated() -> Mapping[str, tuple[str, Callable[[], str]]]:
    """(file whose folder the page's links are relative to, maker of its Markdown), by path below docs/.

    A page that is a file of the repository keeps that file's links; others have the links of where they stand.
    """
    made: dict[str, Callable[[], str]] = {
        "reference/commands/index.md": commands.index,
        **{f"reference/commands/{program}.md": partial(commands.page, program) for program in commands.PROGRAMS},
        "reference/tasks.md": invoke_tasks.page,
        "reference/configuration.md": configuration.page,
        "reference/methods.md": methods.page,
        "reference/artifacts/index.md": artifacts.index,
        **{f"reference/artifacts/{a.page}.md": partial(artifacts.page, a) for a in artifacts.all_artifacts()},
        **{f"reference/api/{name}.md": partial(papers.api, name) for name in papers.PACKAGES},
        "decisions/index.md": papers.decisions,
    }
    found = {place: (f"docs/{place}", make) for place, make in made.items()}
    for name in papers.PACKAGES:
        readme, changes = f"packages/{name}/README.md", f"packages/{name}/CHANGELOG.md"
        found[f"packages/{name}.md"] = (readme, partial(papers.source, papers.ROOT / readme))
        found[f"changes/{name}.md"] = (changes, partial(papers.changes, name))
    return found


def written() -> list[str]:
    """Pages that lie in docs/, but for the records of runs, which results/README.md leads to."""
    docs = papers.ROOT / "docs"
    places = (path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    return sorted(place for place in places if not fnmatch.fnmatch(place, RECORDS))


def expand(navigation: Any, places: Collection[str]) -> Any:
    """The navigation of mkdocs.yml with the pages that each of its patterns stands for, in their order.

    A pattern takes the pages that are named nowhere else. It may take none: a page that comes later is then there.
    """
    named = set(_leaves(navigation))

    def expanded(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {title: expanded(part) for title, part in entry.items()}
        if isinstance(entry, list):
            parts = ([item] if not _is_pattern(item) else matching(item) for item in entry)
            return [expanded(part) for found in parts for part in found]
        return entry

    def matching(pattern: str) -> list[str]:
        return sorted(place for place in set(places) - named if fnmatch.fnmatch(place, pattern))

    return expanded(navigation)


def _is_pattern(entry: Any) -> bool:
    return isinstance(entry, str) and "*" in entry


def _leaves(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from _leaves(part)
