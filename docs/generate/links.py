"""Links between pages, written as GitHub follows them, turned into links of the site.

A file outside docs/ that a page points at becomes a page of the site, so that the site is whole without a network.
"""

import posixpath
import re
from pathlib import Path

from generate.papers import PACKAGES

ROOT = Path(__file__).parents[2]
_LINK = re.compile(
    r"^```.*?^```|`[^`\n]*`"  # code is passed over: f[i](x) is no link
    r"|(?<=\]\()(?!\w+:|#|/)(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?=\))",
    re.MULTILINE | re.DOTALL,
)
FOLDERS = {  # pages that stand for a folder
    "docs/decisions": "decisions/index.md",
    "docs/schemas": "reference/artifacts/index.md",
    "configs/methods": "reference/methods.md",
    **{f"packages/{name}": f"packages/{name}.md" for name in PACKAGES},
    **{f"packages/{name}/README.md": f"packages/{name}.md" for name in PACKAGES},
    **{f"packages/{name}/CHANGELOG.md": f"changes/{name}.md" for name in PACKAGES},
}


def place(target: str) -> str:
    """Path below docs/ of the page or file that stands for a path of the repository."""
    if target in FOLDERS:
        return FOLDERS[target]
    if not _outside(target):
        return target.removeprefix("docs/")
    return f"sources/{target}" if target.endswith(".md") else f"sources/{target}.md"


def targets(text: str, origin: str) -> list[str]:
    """Paths of the repository that a text of the file `origin` points at."""
    return [_resolve(match["target"], origin) for match in _LINK.finditer(text) if match["target"]]


def rewrite(text: str, origin: str, page: str) -> str:
    """The text of the file `origin` (path in the repository) with links that hold on `page` (path below docs/)."""

    def turned(match: re.Match[str]) -> str:
        if not match["target"]:
            return match[0]
        there = posixpath.relpath(place(_resolve(match["target"], origin)), posixpath.dirname(page) or ".")
        return there + (match["anchor"] or "")

    return _LINK.sub(turned, text)


def _resolve(link: str, origin: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))


def without_dead(text: str, origin: str) -> str:
    """A record of a run as it was written, whose links to files that were not kept are plain text.

    Records name every file of their run root; of most roots only the comparison is in the repository.
    """

    def kept(match: re.Match[str]) -> str:
        there = (ROOT / _resolve(match[2], origin)).exists()
        return match[0] if there or re.match(r"\w+:|#", match[2]) else match[1]

    return re.sub(r"\[([^\]]*)\]\(([^)\s]+)\)", kept, text)


def outside(text: str, origin: str) -> list[str]:
    """Files outside docs/, or scripts in it, that a text points at and no other page stands for."""
    return [
        target
        for target in targets(text, origin)
        if _outside(target) and target not in FOLDERS and (ROOT / target).is_file()
    ]


def _outside(target: str) -> bool:
    """Whether a file is none of the site by itself: outside docs/, or a script there."""
    return not target.startswith("docs/") or target.endswith(".py")
