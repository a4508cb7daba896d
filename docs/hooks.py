"""Hooks of mkdocs: pages that are made from the code, links that leave docs/, and nothing from other hosts.

mkdocs.yml names this file; `nox -s docs` builds the site.
"""

import fnmatch
import re
from pathlib import Path
from typing import Any

from generate import formulas, links, offline, pages, papers
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
_INCLUDE = re.compile(r"<!-- from (README\.md)(?:: (.+?))? -->")


def on_config(config: Any) -> Any:
    """Draw blocks of LaTeX as MathML, and put pages where the navigation has a pattern."""
    fence = {"name": "math", "class": "math", "format": formulas.block}
    config["mdx_configs"].setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    config["nav"] = pages.expand(config["nav"], [*pages.written(), *pages.generated()])
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add every generated page, and each file outside docs/ that some page points at."""
    texts = {
        f"docs/{file.src_uri}": Path(file.abs_src_path).read_text(encoding="utf-8") for file in files if _is_page(file)
    }
    texts |= {"README.md": (ROOT / "README.md").read_text(encoding="utf-8")}  # parts of it stand in index.md
    for place, (origin, make) in pages.generated().items():
        texts[origin] = make()
        files.append(File.generated(config, place, content=links.rewrite(texts[origin], origin, place)))
    shown: dict[str, str] = {}
    waiting = [target for origin, text in texts.items() for target in links.outside(text, origin)]
    while waiting:
        target = waiting.pop()
        if target in shown:
            continue
        shown[target] = papers.source(ROOT / target)
        waiting += links.outside(shown[target], target) if target.endswith(".md") else []
    for target, text in sorted(shown.items()):
        place = links.place(target)
        content = links.rewrite(text, target, place) if target.endswith(".md") else text
        files.append(File.generated(config, place, content=f"---\nsearch:\n  exclude: true\n---\n\n{content}"))
    return files


def _is_page(file: Any) -> bool:
    return bool(file.src_uri.endswith(".md") and file.abs_src_path)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put parts of README.md where a page asks for them, and turn the links of a page that lies in docs/."""
    place = page.file.src_uri
    if page.file.generated_by is not None:  # its links are turned already
        return markdown
    if fnmatch.fnmatch(place, pages.RECORDS):
        markdown = links.without_dead(markdown, f"docs/{place}")
    turned = links.rewrite(markdown, f"docs/{place}", place)
    return _INCLUDE.sub(lambda match: _include(match, place), turned)


def _include(match: re.Match[str], place: str) -> str:
    text = (ROOT / match[1]).read_text(encoding="utf-8")
    part = papers.section(text, match[2]) if match[2] else papers.introduction(text)
    return links.rewrite(part, match[1], place)


def on_post_build(config: Any, **_: Any) -> None:
    """Refuse a site that would fetch anything from another host.

    Raises:
        PluginError: with the pages and what they would fetch.
    """
    if found := offline.fetched_by(Path(config["site_dir"])):
        raise PluginError("pages fetch from other hosts:\n  " + "\n  ".join(found))
