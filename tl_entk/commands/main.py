"""Command line: the entry point and its commands."""

from __future__ import annotations

import sys
import warnings

import typer

from feature_sets.errors import UserError
from tl_entk.commands.console import errors, show_error
from tl_entk.commands.language import language
from tl_entk.commands.modular_transformer import modular_transformer
from tl_entk.commands.paper import paper
from tl_entk.commands.toys import modular_mlp, superposition

app = typer.Typer(
    help="Features of a TransformerLens model from its empirical neural tangent kernel (eNTK).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_INTERRUPTED = 130


@app.callback()
def _root() -> None:
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="transformer_lens")


app.command("language")(language)
app.command("superposition")(superposition)
app.command("modular-mlp")(modular_mlp)
app.command("paper")(paper)
app.command("modular-transformer")(modular_transformer)


def main() -> None:
    """Entry point: what a user can fix as one line, anything else with its traceback."""
    try:
        # typer turns an interruption into a return value
        if app(standalone_mode=False) == _INTERRUPTED:
            errors.print("interrupted: the same command goes on where it stopped.")
            sys.exit(_INTERRUPTED)
    except (UserError, OSError) as error:
        show_error(error)
        sys.exit(2)
    except Exception as error:
        # typer's own usage errors know how to show themselves
        if not (hasattr(error, "show") and hasattr(error, "exit_code")):
            raise
        error.show()
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
