"""Othello: its rules beside a plain twin that walks the board, games, and the board as features."""

import numpy as np
import pytest
import torch

from tl_entk.experiments.board_game.features import board_features, board_states
from tl_entk.experiments.board_game.games import draw_windows, random_games
from tl_entk.experiments.board_game.othello import legal_moves, opening, play
from tl_entk.experiments.board_game.settings import (
    EMPTY,
    FAMILIES,
    FLIPPED,
    LEAST,
    MINE,
    THEIRS,
    BoardGameSettings,
)

pytestmark = pytest.mark.plain

STEPS = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]


class Twin:
    """A game of Othello on a dictionary of squares, one square after the other."""

    def __init__(self, size):
        self.size, self.player = size, "black"
        low, high = size // 2 - 1, size // 2
        self.owner = {(low, high): "black", (high, low): "black"}
        self.owner |= {(low, low): "white", (high, high): "white"}
        self.placed = dict(self.owner)
        self.passes = 0

    @property
    def opponent(self):
        return "white" if self.player == "black" else "black"

    def turned(self, square):
        """The discs that a move turns over."""
        found = []
        if square in self.owner:
            return found
        for y, x in STEPS:
            line, at = [], (square[0] + y, square[1] + x)
            while self.owner.get(at) == self.opponent:
                line.append(at)
                at = (at[0] + y, at[1] + x)
            found += line if self.owner.get(at) == self.player else []
        return found

    def legal(self):
        every = [(y, x) for y in range(self.size) for x in range(self.size)]
        return [y * self.size + x for y, x in every if self.turned((y, x))]

    def move(self, number):
        square = divmod(number, self.size)
        for disc in [*self.turned(square), square]:
            self.owner[disc] = self.player
        self.placed[square] = self.player
        self.player = self.opponent
        if not self.legal():
            self.player = self.opponent
            self.passes += 1

    def seen(self, discs):
        """Discs from the side of the player to move."""
        board = np.zeros((self.size, self.size), int)
        for square, owner in discs.items():
            board[square] = 1 if owner == self.player else -1
        return board.ravel().tolist()


def test_numbers_of_games_are_those_that_are_known():
    boards, found = opening(1, 8), []
    for _ in range(5):
        games, rows, columns = legal_moves(boards).nonzero(as_tuple=True)
        move = torch.zeros(len(games), 8, 8, dtype=torch.bool)
        move[torch.arange(len(games)), rows, columns] = True
        boards = play(boards[games], move)
        found.append(len(boards))
    assert found == [4, 12, 56, 244, 1396]


@pytest.mark.parametrize(("size", "moves"), [(4, 9), (6, 14)])
def test_random_games_are_those_of_the_twin(size, moves):
    games = random_games(60, size, moves, torch.Generator().manual_seed(1))
    passes = 0
    for number in range(len(games.moves)):
        twin = Twin(size)
        for time, move in enumerate(games.moves[number].tolist()):
            assert move in twin.legal()
            twin.move(move)
            assert games.legal[number, time].nonzero()[:, 0].tolist() == twin.legal()
        assert games.board[number].tolist() == twin.seen(twin.owner)
        assert games.placed[number].tolist() == twin.seen(twin.placed)
        passes += twin.passes
    # on the small board some games end before, and some players have to pass
    assert (passes > 0, len(games.moves) < 60) == (size == 4, size == 4)


def test_every_legal_move_is_drawn_alike():
    games = random_games(4000, 4, 1, torch.Generator().manual_seed(0))
    shares = torch.bincount(games.moves[:, 0], minlength=16) / len(games.moves)
    expected = legal_moves(opening(1, 4)).flatten() / 4
    assert (shares - expected).abs().max() < 0.03


def test_features_are_the_states_of_the_squares():
    settings = BoardGameSettings(size=4, moves=6, windows=100, k=4)
    games = draw_windows(settings)
    states = dict(zip(FAMILIES, board_states(games), strict=True))
    assert ((states[MINE].int() + states[THEIRS].int() + states[EMPTY].int()) == 1).all()
    differs = (games.board != games.placed) & ~states[EMPTY]
    assert torch.equal(states[FLIPPED], differs)
    assert not (states[FLIPPED] & states[EMPTY]).any()
    found = board_features(games)
    counts = found.features.values.sum(0)
    assert ((counts >= LEAST) & (counts <= 100 - LEAST)).all()
    # the four discs of the center are never taken off
    assert not {"empty b2", "empty c3"} & set(found.features.names)
    column = found.features.names.index("mine c2")
    assert np.array_equal(found.features.values[:, column], states[MINE][:, 6])
    assert found.places[column] == (list(FAMILIES).index(MINE), 6)
    few = found.keep(["mine c2"])
    assert few.as_boards(np.array([0.25]))[0, 6] == 0.25
    assert few.as_boards(np.array([0.25])).isnan().sum() == 4 * 16 - 1


def test_windows_have_boards_of_their_own_and_their_seed():
    settings = BoardGameSettings(size=4, moves=6, windows=100, k=4)
    games = draw_windows(settings)
    assert len(np.unique(games.board.numpy(), axis=0)) == len(games.moves) == 100
    assert torch.equal(games.moves, draw_windows(settings).moves)
    with pytest.raises(ValueError, match="different boards"):
        draw_windows(BoardGameSettings(size=4, moves=2, windows=100, k=4))
    # after one move every board is one of four
    with pytest.raises(ValueError, match="more windows or moves"):
        board_features(random_games(LEAST, 4, 1, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 5}, "even number"),
        ({"size": 28}, "from 4 to 26"),
        ({"size": 4, "moves": 12}, "11 or fewer"),
        ({"d_model": 30}, "multiple"),
        ({"k": 65}, "smaller k"),
        ({"k": 81, "windows": 80, "d_model": 128}, "no more than 80 directions"),
        ({"windows": 10}, "count from 80"),
        ({"seed": -1}, "from 0 on"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        BoardGameSettings(**settings)
