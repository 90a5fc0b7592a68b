"""One seed of the board game: train, find directions, judge them against the board."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.alignment.names import PCA
from tl_entk.experiments.board_game.directions import Layers, find_directions
from tl_entk.experiments.board_game.features import BoardFeatures, board_features
from tl_entk.experiments.board_game.games import Games, draw_windows
from tl_entk.experiments.board_game.judging import (
    judge_dealt_anew,
    judge_methods,
    judge_within_prediction,
    methods_of,
    validate,
)
from tl_entk.experiments.board_game.legality import MODEL, plain_predictors
from tl_entk.experiments.board_game.model import build_model
from tl_entk.experiments.board_game.probing import best_layer, probe_board
from tl_entk.experiments.board_game.settings import (
    ALL_LOGITS,
    BoardGameSettings,
)
from tl_entk.experiments.board_game.training import judge_model, train_player
from tl_entk.tools.progress import Progress

# directions of the last layer that are drawn as boards
DRAWN = 6
Boards = Float[Tensor, "metrics families s"]


@dataclass(frozen=True, eq=False)
class BoardGameResult:
    """What one seed shows. Figures are by metric, family and square, as in the settings.

    Attributes:
        settings: of the run.
        loss: mean over each round's games.
        legality: predictor to its share of illegal first choices, and probability of legal moves.
        shares: share of the windows that have a feature; NaN for those that are not judged.
        trained: method to what its best directions reach.
        untrained: the same of the model before training.
        dealt: the same with the boards dealt out anew to the windows.
        within: the same within one predicted move; empty where too few features vary there.
        validations: method to its average precision within the train half, of the trained model.
        untrained_validations: of the model before training.
        candidates: kernel of one backward pass to the same, best first, of the trained model.
        untrained_candidates: of the model before training.
        probes: basis to what a linear probe on it reaches, by layer.
        untrained_probes: the same of the model before training.
        probe_layer: whose residual stream is probed best within the train half.
        maps: basis to how its first directions of the last layer go with every square's owner:
            size of the correlation with 1 for mine, -1 for theirs, 0 for empty.
        seconds: wall time of each part.
    """

    settings: dict[str, Any]
    loss: list[float]
    legality: dict[str, list[float]]
    shares: Float[Tensor, "families s"]
    trained: dict[str, Boards]
    untrained: dict[str, Boards]
    dealt: dict[str, Boards]
    within: dict[str, Boards]
    validations: dict[str, float]
    untrained_validations: dict[str, float]
    candidates: dict[str, float]
    untrained_candidates: dict[str, float]
    probes: dict[str, Float[Tensor, "layers metrics families s"]]
    untrained_probes: dict[str, Float[Tensor, "layers metrics families s"]]
    probe_layer: int
    maps: dict[str, Float[Tensor, "directions s"]]
    seconds: dict[str, float]


def run_board_game(
    settings: BoardGameSettings, folder: Path, *, progress: bool = False
) -> BoardGameResult:
    """Train a model on random games, and judge directions against the board.

    Args:
        settings: of the run.
        folder: where the training lies.
        progress: show bars.

    Raises:
        UserError: for settings that leave no feature to judge, or a training that diverges.

    Source: known answers as in arXiv 2510.00468, sections 3 and 4; the game as in Li et al. 2023
        (arXiv 2210.13382).
    """
    seconds: dict[str, float] = {}
    games = draw_windows(settings)
    features = board_features(games)
    with _timed(seconds, "training"):
        player = train_player(settings, folder, games, progress=progress)
    legality = {MODEL: judge_model(player.model, games), **plain_predictors(settings, games)}
    with _timed(seconds, "directions"), Progress("directions and probes", 1, progress):
        after = _judge_model(player.model, games, features, settings)
    with _timed(seconds, "controls"), Progress("controls", 1, progress):
        dealt = judge_dealt_anew(after.methods, features, settings.seed)
        with torch.no_grad():
            predicted = player.model(games.moves)[:, -1].argmax(-1)
        within = judge_within_prediction(after.methods, features, predicted, settings.seed)
    with _timed(seconds, "untrained model"), Progress("the untrained model", 1, progress):
        before = _judge_model(build_model(settings), games, features, settings)
    return BoardGameResult(
        settings.as_dict(),
        player.loss,
        {name: list(found) for name, found in legality.items()},
        features.as_boards(features.features.values.mean(0)),
        after.figures,
        before.figures,
        dealt,
        within,
        after.validations,
        before.validations,
        after.candidates,
        before.candidates,
        after.probes,
        before.probes,
        best_layer(player.model, games, features, settings),
        _map_directions(after.methods, games, settings),
        seconds,
    )


class _JudgedModel(NamedTuple):
    """What is found on a model, and what it reaches."""

    methods: dict[str, Layers]
    candidates: dict[str, float]
    figures: dict[str, Boards]
    validations: dict[str, float]
    probes: dict[str, Float[Tensor, "layers metrics families s"]]


def _judge_model(
    model: Any, games: Games, features: BoardFeatures, settings: BoardGameSettings
) -> _JudgedModel:
    found = find_directions(model, games, settings)
    candidates = validate(found.candidates, features, settings.seed)
    methods = methods_of(found, next(iter(candidates)))
    return _JudgedModel(
        methods,
        {str(candidate): value for candidate, value in candidates.items()},
        judge_methods(methods, features, settings.seed),
        validate(methods, features, settings.seed),
        probe_board(model, games, found, features, settings),
    )


def _map_directions(
    methods: Mapping[str, Layers], games: Games, settings: BoardGameSettings
) -> dict[str, Float[Tensor, "directions s"]]:
    """How the first directions of the last layer go with who owns a square."""
    last = str(settings.n_layers - 1)
    owner = games.board.double()
    return {
        name: correlations(methods[name][last][:, :DRAWN].double(), owner).abs()
        for name in (*ALL_LOGITS, PCA)
    }


def correlations(
    scores: Float[Tensor, "n k"], values: Float[Tensor, "n s"]
) -> Float[Tensor, "k s"]:
    """Of every column with every other; 0 where one is constant."""
    ours, theirs = (torch.nn.functional.normalize(x - x.mean(0), dim=0) for x in (scores, values))
    return ours.T @ theirs


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[part] = time.perf_counter() - started
