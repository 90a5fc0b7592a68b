"""What `mkdocs build` does beside building: pages from the repository's root, formulas, a check.

Formulas become MathML while the site is built, so that readers need no script for them.
"""

from __future__ import annotations

import ast
import html
import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]

# files of the repository that are pages too; links to them are turned to the pages
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "tl_entk/language/story_model/CARD.md": "cards/story-model.md",
    "feature_sets/english/CARD.md": "cards/english-pipeline.md",
}

_LINK = re.compile(r"(\]\()(?!https?:|#)([^)#\s]+)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_NAMES = re.compile(r"<!-- names: (\w+) -->")
# what a browser fetches by itself, as opposed to what a reader follows
_FETCHED = re.compile(
    r"<(?:script|img|iframe|source|audio|video|embed)\b[^>]*\bsrc\s*=\s*[\"']?(?:https?:)?//[^\s\"'>]+"
    r"|<link\b(?=[^>]*\brel\s*=\s*[\"']?(?!canonical|prev|next|alternate)[a-z])"
    r"[^>]*\bhref\s*=\s*[\"']?(?:https?:)?//[^\s\"'>]+"
    r"|@import\s+[^;]*(?:https?:)?//[^;]+"
    r"|url\(\s*[\"']?(?:https?:)?//[^)]+"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    for source, place in PAGES.items():
        text = _turn_links((ROOT / source).read_text(encoding="utf-8"), source, place)
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links that leave docs/ to the pages made of what they lead to."""
    place = page.file.src_uri
    if place in PAGES.values():
        return markdown
    return _turn_links(_NAMES.sub(_name_list, markdown), f"docs/{place}", place)


def on_page_content(content: str, **_: object) -> str:
    """Formulas as MathML."""
    return _FORMULA.sub(_mathml, content)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that fetches anything from another server."""
    fetched = [
        f"{path.relative_to(config.site_dir)}: {found}"
        for path in sorted(Path(config.site_dir).rglob("*"))
        if path.suffix in (".html", ".css")
        for found in addresses_fetched(path.read_text(encoding="utf-8"))
    ]
    if fetched:
        raise PluginError("the site fetches from other servers:\n" + "\n".join(fetched))


def addresses_fetched(text: str) -> list[str]:
    """Tags and rules by which a browser would fetch from another server.

    Example:
        >>> addresses_fetched('<a href="https://arxiv.org">read</a> <img src="figure.png">')
        []
        >>> addresses_fetched('<script async src="https://example.org/a.js"></script>')
        ['<script async src="https://example.org/a.js']
        >>> addresses_fetched('<link rel="stylesheet" href="//example.org/a.css">')
        ['<link rel="stylesheet" href="//example.org/a.css']
        >>> addresses_fetched("@font-face { src: url(https://example.org/a.woff2) }")
        ['url(https://example.org/a.woff2']
    """
    return _FETCHED.findall(text)


def _turn_links(markdown: str, source: str, place: str) -> str:
    """Links relative to ``source`` in the repository, as links relative to the page ``place``.

    Example:
        >>> _turn_links("[a](docs/limits.md#size) [b](a.md)", "CONTRIBUTING.md", "contributing.md")
        '[a](limits.md#size) [b](a.md)'
        >>> _turn_links("[how](../../CONTRIBUTING.md)", "docs/how-to/save.md", "how-to/save.md")
        '[how](../contributing.md)'
    """

    def turned(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        page = PAGES.get(target, target.removeprefix("docs/"))
        if page == target:  # neither a page of its own nor within docs/
            return match[0]
        return match[1] + posixpath.relpath(page, posixpath.dirname(place) or ".")

    return _LINK.sub(turned, markdown)


def _name_list(match: re.Match[str]) -> str:
    """The public names of a package with what each is, grouped as its docstring groups them."""
    package = match[1]
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    lines = []
    for line in (ast.get_docstring(tree) or "").splitlines()[1:]:
        if found := re.match(r" {4}(\w+(?:, \w+)*) {2,}(\S.*)", line):
            names = ", ".join(f"[`{name}`][{package}.{name}]" for name in found[1].split(", "))
            lines.append(f"- {names}: {found[2]}")
        elif line.strip():
            lines += ["", f"## {line}", ""]
    return "\n".join(lines)


def _mathml(match: re.Match[str]) -> str:
    return convert(html.unescape(match[2]), display="block" if match[1] == "div" else "inline")
