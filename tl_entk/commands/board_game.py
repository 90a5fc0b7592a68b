"""The ``tl-entk board-game`` command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tl_entk.commands.call import Call
from tl_entk.commands.checks import check_seeds, check_workers
from tl_entk.commands.console import show_costs
from tl_entk.commands.options import FIRST_SEED, Estimate, Out, Seeds, Workers, as_command
from tl_entk.commands.seeds import name_seeds, run_seeds
from tl_entk.experiments.board_game.settings import BoardGameSettings
from tl_entk.experiments.settings import settings_name


@as_command(BoardGameSettings, helps={"seed": FIRST_SEED})
def board_game(
    call: Call[BoardGameSettings],
    *,
    seeds: Seeds = 1,
    workers: Workers = None,
    estimate: Estimate = False,
    out: Out = Path("runs"),
) -> None:
    """Othello on a small board: do eigendirections line up with the state of the board?

    A second call with the same settings reuses what was computed; an interrupted one goes on.
    """
    settings = call.settings
    check_seeds(seeds)
    check_workers(workers)
    if estimate:
        from tl_entk.experiments.board_game.cost import NOT_MEASURED, estimate_board_game

        show_costs(estimate_board_game(settings), NOT_MEASURED, times=seeds)
        return
    name = settings_name("board-game", settings, ("seed", "size", "moves"))
    target = out / (name + name_seeds(seeds))
    from tl_entk.commands.summaries import show_board_game
    from tl_entk.experiments.board_game.jobs import board_game_job, board_game_result
    from tl_entk.report.toys.answers import answer_board_game
    from tl_entk.report.toys.board_game import write_board_game

    run_seeds(
        call,
        target,
        seeds,
        "training, decomposing, judging",
        jobs=lambda seed: [board_game_job(replace(settings, seed=seed), out)],
        gather=board_game_result,
        write=write_board_game,
        show=show_board_game,
        answer=answer_board_game,
        workers=workers,
    )
