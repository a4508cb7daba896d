"""What a page would fetch from another host when it is opened; a link that a reader may follow is none."""

import re
from pathlib import Path

_FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source|object|embed)\b[^>]*?\b(?:src|href|data)=[\"']?(?:https?:)?//[^>]*>"
    r"|url\(\s*[\"']?(?:https?:)?//[^)]*\)|@import\s+[\"'](?:https?:)?//[^\"']*"
)


def fetched(text: str) -> list[str]:
    """Elements of a page, or rules of a style sheet, that name another host; a canonical address is not fetched."""
    return [match[0] for match in _FETCHED.finditer(text) if 'rel="canonical"' not in match[0]]


def fetched_by(site: Path) -> list[str]:
    """The same for every page and style sheet of a built site, each with its file."""
    paths = sorted(path for path in site.rglob("*") if path.suffix in (".html", ".css"))
    return [
        f"{path.relative_to(site)}: {found[:120]}"
        for path in paths
        for found in fetched(path.read_text(encoding="utf-8"))
    ]
