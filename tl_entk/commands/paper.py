"""The ``tl-entk paper`` command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tl_entk.commands.checks import check_model_class, check_writable
from tl_entk.commands.console import announce, console, show_report
from tl_entk.commands.options import Out, Workers
from tl_entk.experiments.paper import run_paper
from tl_entk.report.toys.paper import write_paper
from tl_entk.report.toys.paper_table import paper_table


def paper(
    workers: Workers = None,
    model_class: Annotated[
        str | None, typer.Option(help="Of the Transformer: hooked or bridge.")
    ] = None,
    out: Out = Path("runs"),
) -> None:
    """Everything of the paper that is no language model: five seeds, one report, one table.

    An interrupted run goes on where it stopped; a finished one is only drawn again.
    """
    chosen = check_model_class(model_class)
    target = out / "paper"
    check_writable(target)
    start = time.perf_counter()
    result = run_paper(
        out,
        chosen,
        workers=workers,
        progress=console.is_terminal,
        say=lambda line: announce("paper", line),
    )
    computed = time.perf_counter() - start
    with console.status("writing the report"):
        page = write_paper(result, target, computed)
    table = Table("setting", "figure", "paper's", "ours", box=None)
    for setting, figure, theirs, ours, _, _ in paper_table(result).rows:
        table.add_row(str(setting), str(figure), str(theirs), str(ours))
    console.print(table)
    console.print(f"{computed:.0f} s of computing, {time.perf_counter() - start:.0f} s in all")
    show_report(page)
