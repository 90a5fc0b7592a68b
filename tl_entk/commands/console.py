"""What the commands print: texts as they are, since names of heads hold square brackets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from tl_entk.tools.progress import Progress

if TYPE_CHECKING:
    from tl_entk.experiments.cost import Cost

# rich would take "[2]" of "blocks.0.attn.W_Q[2]" for a style, and ":smile:" for a picture
console = Console(markup=False, emoji=False)
errors = Console(markup=False, emoji=False, stderr=True)


def set_quiet(quiet: bool) -> None:
    """Print nothing but errors and the report's path, or everything again."""
    console.quiet = quiet


def shows_progress() -> bool:
    """Whether stages show how far they are: bars in a terminal, lines in a file."""
    return not console.quiet


@contextmanager
def working(doing: str) -> Iterator[None]:
    """Around a stage whose steps are not counted: a spinner in a terminal, lines in a file."""
    with (
        console.status(doing),
        Progress(doing, 1, shows_progress() and not console.is_terminal),
    ):
        yield


def announce(name: str, doing: str = "") -> None:
    """The name of a run, and what is being done for it."""
    console.print(Text.assemble((name, "bold"), f": {doing}" if doing else ""), soft_wrap=True)


def show_costs(costs: Iterable[Cost], remark: str, *, times: int = 1) -> None:
    """What every part of a run takes, as it gets known, and all together.

    Args:
        costs: of a run.
        remark: what they are not.
        times: how often the run is made, as of several seeds.
    """
    # what they bring is slow to import
    from rich.table import Table

    from tl_entk.tools.timing import duration

    found = []
    for cost in costs:
        found.append(cost)
        console.print(f"{cost.part}: {cost.note}", soft_wrap=True)
    total = sum(cost.seconds for cost in found)
    with_memory = any(cost.memory_bytes for cost in found)
    table = Table("part", "time", *["memory"] * with_memory, box=None)
    for cost in found:
        memory = f"{cost.memory_bytes / 2**30:.1f} GiB" if cost.memory_bytes else ""
        table.add_row(cost.part, duration(cost.seconds), *[memory] * with_memory)
    whole = "all of it" if times == 1 else f"all of it, {times} times"
    table.add_row(whole, duration(times * total))
    console.print(table)
    console.print(f"About: {remark}.", soft_wrap=True)


def show_end(answer: str, page: Path) -> None:
    """The last three lines: what was found, where the report is, how to look at it."""
    if console.quiet:
        print(page)
        return
    # on one line each, however narrow the console
    console.print(Text.assemble(("answer:", "bold"), f" {answer}"), soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True)
    console.print(f"open {page.resolve().as_uri()} in a browser", soft_wrap=True)


def show_error(error: BaseException) -> None:
    """What a user can fix, on one line."""
    errors.print(Text.assemble(("error:", "red"), f" {error}"), soft_wrap=True)
