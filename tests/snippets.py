"""Python that the documentation shows, as it stands in the Markdown."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))

_FENCE = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_TAB = re.compile(r'=== "(.*)"\n\s*$')


@dataclass(frozen=True)
class Snippet:
    """A fenced block of Python, and the name of the tab it stands in, if any."""

    source: str
    tab: str | None
    place: str


def read_snippets(path: Path) -> list[Snippet]:
    """All of a page, in order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        tab = _TAB.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 2
        place = f"{path.relative_to(ROOT)}:{line}"
        found.append(Snippet(textwrap.dedent(match[2]), tab and tab[1], place))
    return found


def run_snippets(snippets: list[Snippet], tab: str | None = None) -> dict[str, Any]:
    """Run them one after the other, of those in tabs the named one's, and return their names."""
    names: dict[str, Any] = {}
    for snippet in snippets:
        if snippet.tab in (None, tab):
            exec(compile(snippet.source, snippet.place, "exec"), names)
    return names
