"""Figures of the board game: families of features, and boards square by square."""

from __future__ import annotations

from tl_entk.experiments.board_game.settings import FAMILIES
from tl_entk.experiments.board_game.verdict import (
    Seeds,
    boards_over_seeds,
    figure_over_seeds,
    figures_of_roles,
)
from tl_entk.report import charts
from tl_entk.report.parts import Picture
from tl_entk.report.toys.matrices import matrix_panels


def family_picture(seeds: Seeds) -> Picture:
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


def board_pictures(seeds: Seeds) -> list[Picture]:
    """AUROC of the best direction for every square, as boards."""
    values = {}
    for name, of in figures_of_roles().items():
        boards = boards_over_seeds(seeds, of)
        size = round(boards.shape[-1] ** 0.5)
        for family, board in zip(FAMILIES, boards, strict=True):
            values[family, name] = (2 * board - 1).reshape(size, size).numpy()
    picture = matrix_panels(
        values, label="2 AUROC - 1", row_label="row", column_label="column", size=1.9
    )
    return [
        Picture(
            "board_squares",
            "How well the best direction tells the state of each square, from 0 (chance, or worse) "
            "to 1, over seeds; white: not judged, since nearly all windows are alike there.",
            picture,
        )
    ]


def map_picture(seeds: Seeds) -> Picture:
    """The first directions of the last layer as boards, in the first seed."""
    maps = next(iter(seeds.values())).maps
    values = {}
    for name, directions in maps.items():
        size = round(directions.shape[-1] ** 0.5)
        for number, direction in enumerate(directions):
            values[name, f"direction {number}"] = direction.reshape(size, size).numpy()
    picture = matrix_panels(
        values, label="|correlation|", row_label="row", column_label="column", size=1.7
    )
    return Picture(
        "board_directions", "The first directions of the last layer, by square.", picture
    )
