"""What the commands print: texts as they are, since names of heads hold square brackets."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

# rich would take "[2]" of "blocks.0.attn.W_Q[2]" for a style, and ":smile:" for a picture
console = Console(markup=False, emoji=False)
errors = Console(markup=False, emoji=False, stderr=True)


def announce(name: str, doing: str = "") -> None:
    """The name of a run, and what is being done for it."""
    console.print(Text.assemble((name, "bold"), f": {doing}" if doing else ""))


def show_report(page: Path) -> None:
    """Where the report is, on one line however narrow the console."""
    console.print(f"report: {page}", soft_wrap=True)


def show_error(error: Exception) -> None:
    """What a user can fix, on one line."""
    errors.print(Text.assemble(("error:", "red"), f" {error}"), soft_wrap=True)
