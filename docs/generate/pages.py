"""Every generated page by its place in the site."""

from collections.abc import Callable, Mapping
from functools import partial

from generate import artifacts, commands, configuration, invoke_tasks, methods, papers


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
        for place, paper in (("packages", "README.md"), ("changes", "CHANGELOG.md")):
            path = f"packages/{name}/{paper}"
            found[f"{place}/{name}.md"] = (path, partial(papers.source, papers.ROOT / path))
    return found
