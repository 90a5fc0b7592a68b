"""Figures of the board game: families of features, and boards square by square."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from tl_entk.alignment.names import RANDOM
from tl_entk.experiments.board_game.features import column_name
from tl_entk.experiments.board_game.settings import FAMILIES
from tl_entk.experiments.board_game.verdict import (
    BoardSeeds,
    boards_over_seeds,
    figure_over_seeds,
    figures_of_roles,
)
from tl_entk.report import charts
from tl_entk.report.parts import Picture
from tl_entk.report.toys.matrices import matrix_panels


def family_picture(seeds: BoardSeeds) -> Picture:
    """The roles by family."""
    rows = {
        family: {
            name: figure_over_seeds(seeds, of, family) for name, of in figures_of_roles().items()
        }
        for family in FAMILIES
    }
    chart = charts.intervals(
        rows, "The best direction for the state of a square", "AUROC on the test half", "family"
    )
    return Picture(
        "board_families",
        "Mean AUROC over the squares of a family (chance 0.5), with 95 % intervals over seeds. "
        "The probe may use all of the residual stream, the others one direction each.",
        chart,
    )


def square_picture(seeds: BoardSeeds) -> Picture:
    """AUROC of the best direction for every square, as boards."""
    values = {}
    for name, of in figures_of_roles().items():
        if name == RANDOM:
            continue
        for family, board in zip(FAMILIES, boards_over_seeds(seeds, of), strict=True):
            values[family, name] = _as_board(2 * board - 1)
    return Picture(
        "board_squares",
        "How well the best direction tells the state of each square, from 0 (chance, or worse) to "
        "1, over seeds. White: not judged, since nearly all windows are alike there.",
        _draw_boards(values, "2 AUROC - 1"),
    )


def map_picture(seeds: BoardSeeds) -> Picture:
    """The first directions of the last layer as boards, in the first seed."""
    values = {
        (name, f"direction {number}"): _as_board(direction)
        for name, directions in next(iter(seeds.values())).maps.items()
        for number, direction in enumerate(directions)
    }
    return Picture(
        "board_directions",
        "The first directions of the last layer, square by square.",
        _draw_boards(values, "|correlation|", max(board.max() for board in values.values())),
    )


def _as_board(values: Float[Tensor, " s"]) -> Float[np.ndarray, "n n"]:
    size = round(len(values) ** 0.5)
    return values.reshape(size, size).numpy()


def _draw_boards(
    values: Mapping[tuple[str, str], Float[np.ndarray, "n n"]], label: str, highest: float = 1.0
) -> Figure:
    places = range(len(next(iter(values.values()))))
    return matrix_panels(
        values,
        label=label,
        row_label="row",
        column_label="column",
        highest=highest,
        size=2.0,
        ticks={place: column_name(place) for place in places},
        row_ticks={place: str(place + 1) for place in places},
    )
