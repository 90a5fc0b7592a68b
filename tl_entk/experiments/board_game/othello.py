"""Othello on an even board, for many boards at once.

A board is n x n numbers from the side of the player to move: 1 for a disc of theirs, -1 for one of
the opponent, 0 for an empty square. The other side's view is the negative.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int8
from torch import Tensor

Board = Int8[Tensor, "b n n"]
Squares = Bool[Tensor, "b n n"]

_STEPS = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


def opening(count: int, size: int) -> Board:
    """Boards at the start of a game: four discs in the center, two of either player.

    Args:
        count: how many boards.
        size: squares along a side.

    Example:
        >>> opening(1, 4)[0].tolist()
        [[0, 0, 0, 0], [0, -1, 1, 0], [0, 1, -1, 0], [0, 0, 0, 0]]
    """
    board = torch.zeros(count, size, size, dtype=torch.int8)
    low, high = size // 2 - 1, size // 2
    board[:, low, high] = board[:, high, low] = 1
    board[:, low, low] = board[:, high, high] = -1
    return board


def legal_moves(board: Board) -> Squares:
    """Empty squares from which a line of the opponent's discs leads to one of the player's own.

    Example:
        >>> legal_moves(opening(1, 4))[0].int().tolist()
        [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    """
    mine, theirs = board == 1, board == -1
    found = torch.zeros_like(mine)
    for step in _STEPS:
        found |= _shift(_reach(mine, theirs, step), step)
    return found & (board == 0)


def play(board: Board, move: Squares) -> Board:
    """The board after a legal move, from the side of the other player.

    Args:
        board: before it.
        move: the one square of each board that is played.

    Example:
        >>> board = opening(1, 4)
        >>> move = torch.zeros(1, 4, 4, dtype=torch.bool)
        >>> move[0, 0, 1] = True
        >>> play(board, move)[0].tolist()
        [[0, -1, 0, 0], [0, -1, -1, 0], [0, -1, 1, 0], [0, 0, 0, 0]]
    """
    mine, theirs = board == 1, board == -1
    won = move.clone()
    for y, x in _STEPS:
        # between the move and a disc of one's own: reached from both ends
        won |= _reach(move, theirs, (y, x)) & _reach(mine, theirs, (-y, -x))
    return -torch.where(won, torch.ones_like(board), board)


def _reach(start: Squares, through: Squares, step: tuple[int, int]) -> Squares:
    """Squares of ``through`` that follow without a gap on one of ``start`` in one direction."""
    found = _shift(start, step) & through
    for _ in range(start.shape[-1] - 3):
        found = found | (_shift(found, step) & through)
    return found


def _shift(squares: Squares, step: tuple[int, int]) -> Squares:
    """The squares one step further; what leaves the board is gone."""
    n = squares.shape[-1]
    (y, from_y), (x, from_x) = (
        (slice(max(by, 0), n + min(by, 0)), slice(max(-by, 0), n + min(-by, 0))) for by in step
    )
    moved = torch.zeros_like(squares)
    moved[:, y, x] = squares[:, from_y, from_x]
    return moved
