"""Directions over the windows: of kernels, of the model's states, of the moves alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from tl_entk.alignment.baselines import leading_scores
from tl_entk.alignment.model_baselines import baseline_scores
from tl_entk.alignment.names import BASELINES, TOGETHER
from tl_entk.alignment.readout_sweep import DEFAULT, Candidate, sweep_directions
from tl_entk.experiments.board_game.games import Games
from tl_entk.experiments.board_game.settings import (
    ALL_LOGITS,
    DEFAULT_KERNEL,
    DISCS,
    MOVES_PCA,
    BoardGameSettings,
)
from tl_entk.operator.top_directions import top_eigendirections

# readouts and components of the kernels of one backward pass; every normalization is tried
READOUTS = ("logsumexp", "mean_logit", "target_logprob")
COMPONENTS = ("W_out", "whole layer", DEFAULT.component)

Layers = Mapping[str, Float[Tensor, "n _"]]


class Directions(NamedTuple):
    """Scores of the windows on every method's directions.

    Attributes:
        kernels: of all logits, and the default one: name to layer to (n, k).
        candidates: kernels of one backward pass, to choose one from.
        baselines: of the model's states, of the moves, and random ones.
    """

    kernels: dict[str, Layers]
    candidates: dict[Candidate, Layers]
    baselines: dict[str, Layers]


def find_directions(model: Any, games: Games, settings: BoardGameSettings) -> Directions:
    """Directions by every method, none of which sees the board.

    A method of every layer has k directions in each to choose from; one that is for all layers has
    as many as these together, but for the default kernel, which has k.

    Args:
        model: in evaluation mode.
        games: whose moves are the windows, read after the last.
        settings: k and the seed.
    """
    kernels: dict[str, Layers] = {
        name: {
            str(layer): kernel_of_all_logits(model, games, settings, weights, layer)
            for layer in range(settings.n_layers)
        }
        for name, weights in ALL_LOGITS.items()
    }
    sweep = sweep_directions(
        model, games.moves, READOUTS, components=COMPONENTS, k=settings.k, seed=settings.seed
    )
    candidates: dict[Candidate, Layers] = {
        candidate: {layer: found.scores for layer, found in layers.items()}
        for candidate, layers in sweep.items()
    }
    every = settings.k * settings.n_layers
    baselines: dict[str, Layers] = {
        **baseline_scores(
            model, games.moves, settings.k, list(BASELINES), k_prediction=every, seed=settings.seed
        ),
        MOVES_PCA: {TOGETHER: leading_scores(games.players(), every)},
        DISCS: {TOGETHER: games.players()},
    }
    return Directions(kernels | {DEFAULT_KERNEL: candidates[DEFAULT]}, candidates, baselines)


def kernel_of_all_logits(
    model: Any, games: Games, settings: BoardGameSettings, weights: str, layer: int
) -> Float[Tensor, "n k"]:
    """Scores on the leading eigendirections of a layer's kernel of all logits, never formed.

    Args:
        model: in evaluation mode.
        games: whose moves are the windows, read after the last.
        settings: k and the seed.
        weights: which, among the values of ``ALL_LOGITS``.
        layer: of the weights.
    """
    component = weights.format(layer=layer)
    return top_eigendirections(model, games.moves, component, settings.k, seed=settings.seed).scores
