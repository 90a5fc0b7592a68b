"""The ``tl-entk board-game`` command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tl_entk.commands.call import Call
from tl_entk.commands.checks import check_seeds, check_workers, run_folder
from tl_entk.commands.console import show_costs, show_end, shows_progress, working
from tl_entk.commands.options import FIRST_SEED, Estimate, Out, Seeds, Workers, as_command
from tl_entk.commands.toys import name_seeds
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
    with run_folder(target, call, "training, decomposing, judging"):
        from tl_entk.commands.summaries import show_board_game
        from tl_entk.experiments.board_game.jobs import board_game_job, board_game_result
        from tl_entk.experiments.jobs import run_jobs
        from tl_entk.report.toys.answers import answer_board_game
        from tl_entk.report.toys.board_game import write_board_game

        jobs = {
            seed: board_game_job(replace(settings, seed=seed), out)
            for seed in range(settings.seed, settings.seed + seeds)
        }
        run_jobs(list(jobs.values()), workers=workers, progress=shows_progress())
        found = {seed: board_game_result(job) for seed, job in jobs.items()}
        with working("writing report.html"):
            page = write_board_game(found, target)
    show_board_game(found)
    show_end(answer_board_game(found), page)
