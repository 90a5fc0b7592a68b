"""Command line: the entry point and its commands.

Nothing here imports torch: a help, a version or a typo is answered at once.
"""

from __future__ import annotations

import sys
import traceback

from feature_sets.errors import UserError
from tl_entk import __version__
from tl_entk.commands.app import app
from tl_entk.commands.board_game import board_game
from tl_entk.commands.console import errors, show_error
from tl_entk.commands.induction_heads import induction_heads
from tl_entk.commands.language import language
from tl_entk.commands.list_components import list_components
from tl_entk.commands.modular_transformer import modular_transformer
from tl_entk.commands.paper import paper
from tl_entk.commands.processes import is_follower
from tl_entk.commands.replay import replay
from tl_entk.commands.report import report
from tl_entk.commands.structured_superposition import structured_superposition
from tl_entk.commands.toys import modular_mlp, superposition

# what the process ends with: a fault of ours, what the caller can fix, an interruption
_FAULT, _FIXABLE, _INTERRUPTED = 1, 2, 130

# command to calls that show what it is for
_EXAMPLES = {
    language: (
        "tl-entk language",
        "tl-entk language --layers 0,3-5 --k 10 --probe ridge",
        "tl-entk language --model gemma-3-270m --dataset stories.txt --estimate",
    ),
    modular_transformer: (
        "tl-entk modular-transformer",
        "tl-entk modular-transformer --p 13 --epochs 500 --out trial",
    ),
    modular_mlp: ("tl-entk modular-mlp --seeds 3", "tl-entk modular-mlp --n 64 --no-collapses"),
    superposition: (
        "tl-entk superposition",
        "tl-entk superposition --m 5 --sparsity 0.9 --betas 0,0.3",
    ),
    induction_heads: (
        "tl-entk induction-heads --seeds 5",
        "tl-entk induction-heads --n-heads 8 --steps 1000 --out trial",
    ),
    structured_superposition: (
        "tl-entk structured-superposition --seeds 5",
        "tl-entk structured-superposition --structures hierarchical,sums --m 8",
    ),
    board_game: (
        "tl-entk board-game --seeds 5",
        "tl-entk board-game --size 4 --moves 6 --rounds 8 --windows 256",
    ),
    paper: ("tl-entk paper --workers 2",),
    list_components: (
        "tl-entk list-components stories",
        "tl-entk list-components gemma-3-270m --model-class bridge",
    ),
    report: (
        "tl-entk report runs/language-stories-n256-k25-seed0",
        "tl-entk report runs/language-stories-n256-k25-seed0 runs/language-stories-n256-k25-seed1",
    ),
    replay: (
        "tl-entk replay runs/language-stories-n256-k25-seed0",
        "tl-entk replay runs/paper --out elsewhere",
    ),
}
for _command, _examples in _EXAMPLES.items():
    app.command(
        _command.__name__.replace("_", "-"),
        epilog="\n\n".join(["Examples:", *_examples]),
    )(_command)


def main() -> None:
    """Entry point: what a user can fix as one line, anything else with its traceback."""
    try:
        # typer turns an interruption into a return value
        if app(standalone_mode=False) == _INTERRUPTED:
            errors.print("interrupted: the same command goes on where it stopped.")
            sys.exit(_INTERRUPTED)
    except (UserError, OSError) as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        # what several processes have met is said once
        if not is_follower() or isinstance(error, ConnectionError):
            show_error(error)
        sys.exit(_FIXABLE)
    except Exception as error:
        # typer's own usage errors know how to show themselves
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        # a run may have taken hours: where it failed is shown without a second one
        traceback.print_exc()
        errors.print(
            f"This is a fault of tl_entk {__version__}, not of yours: please report it with the "
            "lines above.",
            soft_wrap=True,
        )
        sys.exit(_FAULT)


if __name__ == "__main__":
    main()
