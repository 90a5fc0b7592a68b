"""Seeds of the board game as jobs: each writes what it found; an interrupted run goes on."""

from __future__ import annotations

from pathlib import Path

from tl_entk.experiments.board_game.analysis import BoardGameResult, run_board_game
from tl_entk.experiments.board_game.settings import BoardGameSettings
from tl_entk.experiments.jobs import Job
from tl_entk.experiments.records import recall, store
from tl_entk.experiments.settings import settings_name

# the number tells it from results of other code
RESULT = "result-1.safetensors"


def board_game_job(settings: BoardGameSettings, folder: Path) -> Job:
    """One seed."""
    name = settings_name("othello", settings, ("seed", "size", "moves"))
    home = folder / name
    return Job(name, _run, (settings, home), home / RESULT, weight=100.0, shows=True)


def _run(settings: BoardGameSettings, home: Path, *, progress: bool = False) -> None:
    store(run_board_game(settings, home, progress=progress), home / RESULT)


def board_game_result(job: Job) -> BoardGameResult:
    """What a finished job found."""
    return recall(BoardGameResult, job.done)
