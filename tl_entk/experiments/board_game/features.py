"""The state of the board as a feature set: mine, theirs, empty and flipped, square by square."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet
from tl_entk.experiments.board_game.games import Games
from tl_entk.experiments.board_game.settings import EMPTY, FAMILIES, FLIPPED, LEAST, MINE, THEIRS


@dataclass(frozen=True, eq=False)
class BoardFeatures:
    """Features of the boards of n windows.

    Attributes:
        features: binary; families as in ``FAMILIES``.
        places: (f, 2) number of each feature's family, and its square.
        squares: of the board.
    """

    features: FeatureSet
    places: list[tuple[int, int]]
    squares: int

    def keep(self, names: Collection[str]) -> BoardFeatures:
        """Some of the features."""
        columns = [i for i, name in enumerate(self.features.names) if name in names]
        kept = self.features.take(columns)
        return BoardFeatures(kept, [self.places[i] for i in columns], self.squares)

    def as_boards(self, values: Float[np.ndarray, " f"]) -> Float[Tensor, "families s"]:
        """A number per feature as a board per family; NaN where there is no feature."""
        boards = torch.full((len(FAMILIES), self.squares), torch.nan, dtype=torch.float64)
        for (family, square), value in zip(self.places, values, strict=True):
            boards[family, square] = float(value)
        return boards


def board_states(games: Games) -> Bool[Tensor, "families n s"]:
    """What every square is in every window, by family."""
    states = {
        MINE: games.board == 1,
        THEIRS: games.board == -1,
        EMPTY: games.board == 0,
        FLIPPED: games.board * games.placed == -1,
    }
    return torch.stack([states[family] for family in FAMILIES])


def board_features(games: Games) -> BoardFeatures:
    """Features of the boards after the last move, but for those that nearly all or no windows have.

    Raises:
        UserError: if none is left.

    Example:
        >>> from tl_entk.experiments.board_game.games import draw_windows
        >>> from tl_entk.experiments.board_game.settings import BoardGameSettings
        >>> found = board_features(draw_windows(BoardGameSettings(windows=200, moves=6)))
        >>> found.features.families[0], len(found.places) == len(found.features)
        ('mine', True)
    """
    states = board_states(games).double()
    counts = states.sum(1)
    common = (counts >= LEAST) & (counts <= len(games.moves) - LEAST)
    places = [(int(family), int(square)) for family, square in common.nonzero().tolist()]
    if not places:
        raise UserError(
            f"no square has {LEAST} windows of either kind: pass more windows or moves."
        )
    families = [list(FAMILIES)[family] for family, _ in places]
    size = round(states.shape[-1] ** 0.5)
    names = [
        f"{family} {square_name(square, size)}"
        for family, (_, square) in zip(families, places, strict=True)
    ]
    values = torch.stack([states[family, :, square] for family, square in places], 1).numpy()
    found = FeatureSet(values, tuple(names), tuple(families), tuple(names))
    return BoardFeatures(found, places, states.shape[-1])


def square_name(square: int, size: int) -> str:
    """A square as players write it: its column's letter and its row's number.

    Example:
        >>> square_name(0, 6), square_name(35, 6)
        ('a1', 'f6')
    """
    row, column = divmod(square, size)
    return f"{column_name(column)}{row + 1}"


def column_name(column: int) -> str:
    """The letter of a column."""
    return chr(ord("a") + column)
