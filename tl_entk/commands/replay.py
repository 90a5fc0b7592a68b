"""The ``tl-entk replay`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from feature_sets.errors import UserError
from tl_entk import __version__
from tl_entk.commands.app import app
from tl_entk.commands.call import Call, read_call
from tl_entk.commands.console import announce, console
from tl_entk.commands.options import as_command


@as_command()
def replay(
    _: Call[None],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of a run, with its config.json.")
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for results and reports; default the one that DIR lies in."),
    ] = None,
) -> Any:
    """Run a command again, with every setting that its run folder has kept.

    In the same place it reuses what is there; with another --out it computes everything anew.
    """
    return replay_call(folder, out)


def replay_call(folder: Path, out: Path | None) -> Any:
    """Run the command of a run folder again.

    Args:
        folder: with its config.json.
        out: folder for results and reports; default the one that the run folder lies in.

    Raises:
        UserError: for a file that is damaged, or does not fit this version.
    """
    kept = read_call(folder)
    arguments = kept.arguments()
    again = [*arguments, "--out", str(out or kept.path.resolve().parent.parent)]
    again += ["--quiet"] * console.quiet
    doing = " ".join(arguments)
    if kept.version != __version__:
        doing += f" (the run was of tl_entk {kept.version}, this is {__version__})"
    announce("replay", doing)
    known = {command.name for command in app.registered_commands}
    # those that run others again keep no call
    if kept.command not in known - {"replay", "report"}:
        raise UserError(
            f"{kept.path} is of a command {kept.command!r}, which tl_entk {__version__} does not "
            f"have: install tl_entk {kept.version}."
        )
    try:
        return app(again, standalone_mode=False)
    except Exception as error:
        # an option or a value that this version does not take
        if not hasattr(error, "format_message"):
            raise
        raise UserError(
            f"{kept.path} does not fit tl_entk {__version__} ({error.format_message()}): install "
            f"tl_entk {kept.version}, or call the command itself."
        ) from error
