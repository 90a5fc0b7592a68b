"""Random games of Othello: the moves that a model reads, and the boards that it does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor
from torch.nn.functional import one_hot

from feature_sets.errors import UserError
from tl_entk.experiments.board_game.othello import legal_moves, opening, play
from tl_entk.experiments.board_game.settings import BoardGameSettings

# streams of a seed: games of training (and its round), of windows, of the plain predictors
TRAINING, WINDOWS, REFERENCE = range(3)


@dataclass(frozen=True, eq=False)
class Games:
    """Random games of one number of moves; squares are counted row by row.

    Attributes:
        moves: (n, t) the square of each move.
        legal: (n, t, squares) where one may play after it.
        board: (n, squares) after the last move, from the side of the player to move then.
        placed: (n, squares) as ``board``, but by who placed a disc instead of whose it is.
    """

    moves: Int[Tensor, "n t"]
    legal: Bool[Tensor, "n t s"]
    board: Int8[Tensor, "n s"]
    placed: Int8[Tensor, "n s"]

    def take(self, rows: Int[Tensor, " m"]) -> Games:
        """Some of the games."""
        return Games(self.moves[rows], self.legal[rows], self.board[rows], self.placed[rows])

    def players(self) -> Float[Tensor, "n discs"]:
        """Who placed a disc where: all that the set of each player's moves says.

        Returns:
            (n, 2 squares) of 0 and 1: placed by the player to move, then placed by the opponent.
        """
        return torch.cat([self.placed == 1, self.placed == -1], 1).double()


def random_stream(seed: int, stream: int, number: int = 0) -> torch.Generator:
    """The random numbers of one of a seed's streams."""
    state = np.random.SeedSequence([seed, stream, number]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def random_games(count: int, size: int, moves: int, generator: torch.Generator) -> Games:
    """Games in which every move is drawn from the legal ones; those that end before are left out.

    Who cannot move passes, which is no move of the game.

    Args:
        count: games begun.
        size: squares along a side of the board.
        moves: of a game.
        generator: of the moves.

    Example:
        >>> games = random_games(8, 4, 3, torch.Generator().manual_seed(0))
        >>> games.moves.shape, games.legal.shape, games.board.abs().sum(1).tolist()[:2]
        (torch.Size([8, 3]), torch.Size([8, 3, 16]), [7, 7])
    """
    board, placed = opening(count, size), opening(count, size)
    going = torch.ones(count, dtype=torch.bool)
    legal = legal_moves(board)
    played, allowed = [], []
    for _ in range(moves):
        # a game that has ended goes on anywhere, to be left out
        weights = torch.where(going[:, None], legal.flatten(1), True).float()
        square = torch.multinomial(weights, 1, generator=generator)[:, 0]
        move = one_hot(square, size**2).bool().view_as(legal)
        board = play(board, move)
        placed = -torch.where(move, torch.ones_like(placed), placed)
        legal = legal_moves(board)
        stuck = ~legal.flatten(1).any(1)
        board[stuck], placed[stuck] = -board[stuck], -placed[stuck]
        legal[stuck] = legal_moves(board[stuck])
        going = going & legal.flatten(1).any(1)
        played.append(square)
        allowed.append(legal.flatten(1))
    whole = Games(
        torch.stack(played, 1), torch.stack(allowed, 1), board.flatten(1), placed.flatten(1)
    )
    return whole.take(going.nonzero()[:, 0])


def draw_windows(settings: BoardGameSettings) -> Games:
    """Games to find directions on: each has a board of its own, so that halves share none.

    Raises:
        UserError: if there are not as many boards.

    Example:
        >>> draw_windows(BoardGameSettings(windows=80, moves=6)).moves.shape
        torch.Size([80, 6])
    """
    generator = random_stream(settings.seed, WINDOWS)
    games = random_games(2 * settings.windows, settings.size, settings.moves, generator)
    _, first = np.unique(games.board.numpy(), axis=0, return_index=True)
    if len(first) < settings.windows:
        raise UserError(
            f"windows = {settings.windows}: {2 * settings.windows} games of {settings.moves} moves "
            f"have {len(first)} different boards; pass fewer, or more moves."
        )
    return games.take(torch.from_numpy(np.sort(first)[: settings.windows]))
