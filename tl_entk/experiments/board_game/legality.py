"""Does the model know the board? How legal its next move is, beside what needs no board."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from sklearn.linear_model import Ridge
from torch import Tensor

from tl_entk.experiments.board_game.games import REFERENCE, Games, random_games, random_stream
from tl_entk.experiments.board_game.settings import BoardGameSettings

MODEL = "the model"
FREQUENCY = "how often a square is legal, of those without a disc"
LINEAR = "linear in who placed a disc where, of those without a disc"

# games that the plain predictors are fitted on
_GAMES = 8192


class Legality(NamedTuple):
    """How legal the next move is, over games.

    Attributes:
        illegal: share of games in which the first choice is illegal.
        mass: mean probability of the legal moves together.
    """

    illegal: float
    mass: float


def judge_legality(chances: Float[Tensor, "n s"], legal: Bool[Tensor, "n s"]) -> Legality:
    """How much of a prediction is legal.

    Args:
        chances: what is given to every square, from 0 on; rows need not add up to 1.
        legal: where one may play.

    Example:
        >>> legal = torch.tensor([[True, False], [False, True]])
        >>> judge_legality(torch.tensor([[3.0, 1.0], [3.0, 1.0]]), legal)
        Legality(illegal=0.5, mass=0.5)
    """
    first = legal.gather(1, chances.argmax(1, keepdim=True)).double()
    mass = (chances * legal).sum(1) / chances.sum(1)
    return Legality(1 - float(first.mean()), float(mass.double().mean()))


def plain_predictors(settings: BoardGameSettings, games: Games) -> dict[str, Legality]:
    """What the set of moves tells of the next one, without the discs that were turned over.

    Both know which squares have no disc. One gives every such square its share of games in which it
    is legal after as many moves; the other a ridge regression of legality on who placed a disc
    where. They are fitted on games of their own.

    Args:
        settings: of the games.
        games: to judge on.
    """
    generator = random_stream(settings.seed, REFERENCE)
    known = random_games(_GAMES, settings.size, settings.moves, generator)
    legal = games.legal[:, -1]
    shares = known.legal[:, -1].double().mean(0).expand(len(legal), -1)
    ridge = Ridge().fit(known.players().numpy(), known.legal[:, -1].double().numpy())
    fitted = torch.from_numpy(ridge.predict(games.players().numpy())).clamp_min(0)
    empty = games.board == 0
    return {
        FREQUENCY: judge_legality(shares * empty, legal),
        LINEAR: judge_legality(fitted * empty, legal),
    }
