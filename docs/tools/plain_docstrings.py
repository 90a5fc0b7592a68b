r"""Docstrings are plain text with a few marks of Sphinx: made Markdown while the site is built.

So they read well in an editor and in `help()`, and need not know what renders them.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).parents[2]
_ROLE = re.compile(r":(?:func|class|meth|attr|mod):`~?([\w.]+)`")
_MATH = re.compile(r"^( *)\.\. math::((?:.+\n?)+(?:\1   +.*\n?)*)", re.MULTILINE)
_IMPORTS = re.compile(r"\n+May import: .*\Z", re.DOTALL)  # of a folder, for who works on it
_EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)  # Google's section is called Examples
_CODE = re.compile(r"(``.+?``|`[^`\n]+`|\$\$.+?\$\$)", re.DOTALL)


def public_names(package: str) -> list[str]:
    """The names in ``__all__`` of a package, read from its source."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{package} has no __all__")


PUBLIC = {
    name: f"{package}.{name}"
    for package in ("feature_sets", "tl_entk")
    for name in public_names(package)
}


class PlainDocstrings(griffe.Extension):
    """Turns every docstring before it is rendered."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute that has been read."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    r"""A docstring with links and formulas, and with signs escaped that Markdown would take.

    Example:
        >>> as_markdown("K = a * b <c, d> of ``*.W_V``, see :func:`tl_entk.kernel_blocks`.")
        'K = a * b &lt;c, d> of ``*.W_V``, see [`kernel_blocks`][tl_entk.kernel_blocks].'
        >>> as_markdown(".. math:: a \\\\\n    + b\n\nwhere it is.")
        '$$a \\\\ + b$$\n\nwhere it is.'
        >>> as_markdown("Example:\n    >>> f('<a>')\n    '*b*'")
        "Examples:\n    >>> f('<a>')\n    '*b*'"
        >>> as_markdown("Figures.\n\nMay import: tools, model.")
        'Figures.'
    """
    text = _EXAMPLE.sub(r"\1Examples:", _IMPORTS.sub("", docstring))
    text = _ROLE.sub(_link, _MATH.sub(_formula, text))
    blocks, inside = [], False
    for line in text.splitlines():
        inside = line.strip().startswith(">>>") or (inside and bool(line.strip()))
        blocks.append((inside, line))
    lines = "\n".join(f"\0{line}" if code else line for code, line in blocks)
    parts = _CODE.split(lines)
    escaped = "".join(part if i % 2 else _escape(part) for i, part in enumerate(parts))
    return escaped.replace("\0", "")


def _escape(text: str) -> str:
    """Escape Markdown's signs in the lines that are no example (those begin with a null)."""
    return "\n".join(
        line if line.startswith("\0") else re.sub(r"([*<])(?=\S)", _sign, line)
        for line in text.split("\n")
    )


def _sign(match: re.Match[str]) -> str:
    return "&lt;" if match[0] == "<" else "\\" + match[0]


def _link(match: re.Match[str]) -> str:
    name = match[1].rsplit(".", 1)[-1]
    return f"[`{name}`][{PUBLIC[name]}]" if name in PUBLIC else f"`{name}`"


def _formula(match: re.Match[str]) -> str:
    indent, lines = match[1], " ".join(line.strip() for line in match[2].splitlines())
    return f"{indent}$${lines.strip()}$$\n"
