"""The command line without its commands: its help and its version."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from tl_entk import __version__

app = typer.Typer(
    help="Features of a TransformerLens model from its empirical neural tangent kernel (eNTK).\n\n"
    "A run's folder in --out has its report.html, tables, results and config.json; the same "
    "command again goes on, or reuses what is there.",
    epilog="First steps: tl-entk modular-transformer (some minutes), then tl-entk language. "
    "Each command's --help has examples.\n\n"
    "Exit codes: 0 done, 2 something you can fix (the message says how), 1 a fault of tl_entk, "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> bool:
    if asked:
        typer.echo(f"tl_entk {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    del version  # answered by its callback
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="transformer_lens")
