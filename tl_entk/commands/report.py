"""The ``tl-entk report`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tl_entk.commands.call import Call
from tl_entk.commands.console import announce, show_end
from tl_entk.commands.options import as_command
from tl_entk.commands.replay import replay_call


@as_command()
def report(
    _: Call[None],
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of runs.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report of several runs; default comparison beside them."),
    ] = None,
) -> Any:
    """Make the report of a run again from what it has kept, or set several runs side by side.

    Of one run, what its folders have is reused, and the page is written anew. Of several runs of
    the language command, one page compares their methods and settings.
    """
    if len(folders) == 1:
        return replay_call(folders[0], None)
    from tl_entk.report.runs import write_comparison

    target = out or folders[0].resolve().parent / "comparison"
    announce(target.name, f"{len(folders)} runs side by side")
    page = write_comparison(folders, target)
    show_end(f"{len(folders)} runs are on one page.", page)
    return None
