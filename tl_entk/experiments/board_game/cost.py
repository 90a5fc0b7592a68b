"""What one seed of the board game takes: a round of training and one kernel are measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from tl_entk.experiments.board_game.directions import kernel_of_all_logits
from tl_entk.experiments.board_game.games import Games, draw_windows
from tl_entk.experiments.board_game.model import build_model
from tl_entk.experiments.board_game.settings import ALL_LOGITS, BoardGameSettings
from tl_entk.experiments.board_game.training import train_player
from tl_entk.experiments.cost import Cost
from tl_entk.tools.timing import seconds

NOT_MEASURED = (
    "one seed after the other, though several are run side by side; of all-logits kernels that of "
    "the first layer's W_out, the dearest of its kind, was measured; kernels of one backward pass, "
    "probes, judging and the page come on top"
)


def estimate_board_game(settings: BoardGameSettings) -> Iterator[Cost]:
    """Training and kernels of all logits of one seed, before and after training.

    Args:
        settings: of the run.

    Example:
        >>> small = dict(size=4, moves=5, windows=80, k=4, n_layers=1, d_model=8, d_mlp=8, games=64)
        >>> [cost.part for cost in estimate_board_game(BoardGameSettings(**small))]
        ['training', 'kernels of all logits']
    """
    device = torch.device("cpu")
    games = draw_windows(settings)
    # one that was run before has set up libraries
    _train_for_a_step(settings, games)
    taken = seconds(partial(_train_for_a_round, settings, games), device)
    yield Cost(
        "training", settings.rounds * taken, 0, f"{settings.rounds} rounds; one was measured"
    )
    kernels = 2 * len(ALL_LOGITS) * settings.n_layers
    weights = next(iter(ALL_LOGITS.values()))
    work = partial(kernel_of_all_logits, build_model(settings), games, settings, weights, 0)
    yield Cost(
        "kernels of all logits", kernels * seconds(work, device), 0,
        f"{kernels} kernels; one measured",
    )  # fmt: skip


def _train_for_a_step(settings: BoardGameSettings, games: Games) -> None:
    _train_for_a_round(replace(settings, games=settings.batch_size), games)


def _train_for_a_round(settings: BoardGameSettings, games: Games) -> None:
    with tempfile.TemporaryDirectory() as folder:
        train_player(replace(settings, rounds=1), Path(folder), games)
