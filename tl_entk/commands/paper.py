"""The ``tl-entk paper`` command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from tl_entk.commands.call import Call
from tl_entk.commands.checks import check_model_class, check_workers, run_folder
from tl_entk.commands.console import (
    announce,
    console,
    show_costs,
    show_end,
    shows_progress,
    working,
)
from tl_entk.commands.options import Estimate, Out, Workers, as_command


@as_command()
def paper(
    call: Call[None],
    *,
    workers: Workers = None,
    model_class: Annotated[
        str | None, typer.Option(help="Of the Transformer: hooked or bridge.")
    ] = None,
    estimate: Estimate = False,
    out: Out = Path("runs"),
) -> None:
    """Everything of the paper that is no language model: five seeds, one report, one table.

    An interrupted run goes on where it stopped; a finished one is only drawn again.
    """
    chosen = check_model_class(model_class)
    check_workers(workers)
    if estimate:
        from tl_entk.experiments.toy_cost import NOT_MEASURED, estimate_paper

        show_costs(estimate_paper(chosen), NOT_MEASURED)
        return
    target = out / "paper"
    with run_folder(target, call):
        from tl_entk.commands.summaries import show_paper
        from tl_entk.experiments.paper import run_paper
        from tl_entk.report.toys.answers import answer_paper
        from tl_entk.report.toys.paper import write_paper

        start = time.perf_counter()
        result = run_paper(
            out,
            chosen,
            workers=workers,
            progress=shows_progress(),
            say=lambda line: announce("paper", line),
        )
        computed = time.perf_counter() - start
        with working("writing report.html"):
            page = write_paper(result, target, computed)
    show_paper(result)
    console.print(f"{computed:.0f} s of computing, {time.perf_counter() - start:.0f} s in all")
    show_end(answer_paper(result), page)
