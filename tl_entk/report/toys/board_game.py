"""The report on the board game: do eigendirections line up with the board?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tl_entk.experiments.board_game.legality import MODEL
from tl_entk.experiments.board_game.settings import FAMILIES, BoardGameSettings
from tl_entk.experiments.board_game.verdict import BoardSeeds
from tl_entk.experiments.seeds import mean_over_seeds
from tl_entk.report.page import write_report
from tl_entk.report.parts import Cells, Fold, Picture, Section, Table
from tl_entk.report.toys.answers import answer_board_game
from tl_entk.report.toys.board_figures import family_picture, map_picture, square_picture
from tl_entk.report.toys.board_tables import (
    candidate_table,
    chosen_table,
    control_table,
    difference_table,
    method_table,
    probe_table,
    seed_cell,
)
from tl_entk.report.toys.panels import Line, Panel, line_panels
from tl_entk.report.toys.wording import join_numbers


def board_game_sections(seeds: BoardSeeds) -> list[Section]:
    """What the model knows, how well directions line up, controls, probes; every seed counts.

    Args:
        seeds: seed to what it found, of one setting.
    """
    settings = BoardGameSettings(**next(iter(seeds.values())).settings)
    return [
        _model_section(seeds, settings),
        Section(
            "The best direction for every square",
            "For every feature the direction and its sign are chosen on one half of the windows, "
            "by average precision, and judged on the other. A method of every layer has "
            f"{settings.k} directions in each to choose from, one that is for all layers "
            f"{settings.k * settings.n_layers} (the default kernel {settings.k}, discs one for "
            "each square and player). Which kernel and which baseline stand for their kind is "
            "chosen within the train half too. Intervals are over seeds, by Student's t.",
            [
                family_picture(seeds),
                difference_table(seeds),
                square_picture(seeds),
                method_table(seeds, "auroc"),
                Fold("Average precision", [method_table(seeds, "ap")]),
                Fold("What was chosen", [chosen_table(seeds), candidate_table(seeds)]),
            ],
            question="Do eigendirections line up with the board?",
        ),
        Section(
            "Controls",
            "The model before training; boards dealt out anew to the windows, which is chance with "
            "the choice among as many directions; and scores less their mean over the windows of "
            "one predicted move (windows of one move lie in one half), where what is predicted is "
            "no help. In the last two the methods are those chosen before.",
            [control_table(seeds)],
            question="What is left without training, without boards, without the prediction?",
        ),
        Section(
            "Linear probes",
            f"Ridge probes on {settings.k} directions of every basis, and on all numbers of the "
            "residual stream or all discs placed: as far as a linear read-out gets. AUROC on the "
            "test half.",
            [
                probe_table(seeds, trained=True),
                Fold("The model before training", [probe_table(seeds, trained=False)]),
            ],
            question="How much of the board is there at all?",
        ),
        Section(
            "The first directions as boards",
            "How the scores of the first directions of the last layer go with the owner of every "
            "square (1 for the player to move, -1 for the opponent, 0 for none): the size of the "
            "correlation over the windows, in the first seed. A direction for one square would be "
            "one bright cell.",
            [map_picture(seeds)],
        ),
    ]


def _model_section(seeds: BoardSeeds, settings: BoardGameSettings) -> Section:
    rows: list[Cells] = []
    for name in next(iter(seeds.values())).legality:
        figures = np.array([seed.legality[name] for seed in seeds.values()])
        rows.append([name, *(seed_cell(mean_over_seeds(column)) for column in figures.T)])
    lines = {
        f"seed {number}": Line(np.arange(1, len(seed.loss) + 1), np.array(seed.loss))
        for number, seed in seeds.items()
    }
    title = "Loss in every round"
    chart = line_panels({title: Panel(lines, "round", "loss")}, title)
    return Section(
        "Does the model know the board?",
        f"Othello on {settings.size} x {settings.size} squares; the model reads the moves of a "
        "random game as squares and predicts where one may play next. After the "
        f"{settings.moves} moves of the windows' games: how often its first choice is illegal, and "
        "how much probability the legal moves have together. The plain predictors know which "
        "squares have a disc, and who placed it, not the discs that were turned over.",
        [
            Table(
                "legality",
                f"The move after {settings.moves} moves, on {settings.windows} games a seed.",
                ("predictor", "illegal first choices", "probability of legal moves"),
                rows,
            ),
            Picture("loss", "Cross-entropy with the random player, a round of new games each.",
                    chart),
        ],
        question="Does the model know the board?",
    )  # fmt: skip


def write_board_game(seeds: BoardSeeds, out: Path) -> Path:
    """The report of ``tl-entk board-game``.

    Args:
        seeds: seed to what it found.
        out: folder; made if missing.

    Returns:
        The path of report.html.

    Raises:
        OSError: if the folder cannot be written to.
    """
    illegal = mean_over_seeds(seed.legality[MODEL][0] for seed in seeds.values())
    shares = np.mean([np.isfinite(seed.shares.numpy()).sum(1) for seed in seeds.values()], 0)
    figures: list[tuple[str, str]] = [("illegal first choices", f"{illegal.value:.1%}")]
    figures += [
        (f"squares judged, {family}", f"{count:.0f}")
        for family, count in zip(FAMILIES, shares, strict=True)
    ]
    return write_report(
        out,
        "Do eigendirections line up with the state of a board?",
        "A small Transformer that has learned the legal moves of Othello, and the board after the "
        f"last move of a window as features. Seeds {join_numbers(seeds)}.",
        figures,
        board_game_sections(seeds),
        answer=answer_board_game(seeds),
        hero=[family_picture(seeds)],
    )
