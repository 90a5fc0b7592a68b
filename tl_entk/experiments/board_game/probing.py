"""Linear probes of the board on bases of one size, and on all of what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.alignment.activations import activations_at
from tl_entk.alignment.comparison import probe_bases, probe_validation
from tl_entk.alignment.names import NEURONS, PCA, RANDOM, STANDARDIZED, TOGETHER
from tl_entk.alignment.splitting import halves
from tl_entk.experiments.board_game.directions import Directions
from tl_entk.experiments.board_game.features import BoardFeatures
from tl_entk.experiments.board_game.games import Games
from tl_entk.experiments.board_game.settings import (
    ALL_DISCS,
    ALL_LOGITS,
    ALL_STATES,
    DEFAULT_KERNEL,
    METRICS,
    MOVES_PCA,
    BoardGameSettings,
)

_OF_LAYERS = (*ALL_LOGITS, PCA, STANDARDIZED, NEURONS, RANDOM)


def probe_board(
    model: Any,
    games: Games,
    found: Directions,
    features: BoardFeatures,
    settings: BoardGameSettings,
) -> dict[str, Float[Tensor, "layers metrics families s"]]:
    """Ridge probes of every feature, layer by layer, fitted on one half and judged on the other.

    Args:
        model: in evaluation mode.
        games: whose moves are the windows.
        found: directions of the same windows.
        features: of the same windows.
        settings: k and the seed.

    Returns:
        Basis to figures by layer, one for those of ``OF_NO_LAYER``: k directions each, all of the
        residual stream, all discs placed.
    """
    layers = range(settings.n_layers)
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in layers]
    states = activations_at(model, games.moves, hooks)
    named = {**found.kernels, **found.baselines}
    same = _probe(
        {
            DEFAULT_KERNEL: named[DEFAULT_KERNEL][TOGETHER],
            MOVES_PCA: named[MOVES_PCA][TOGETHER][:, : settings.k],
            ALL_DISCS: games.players(),
        },
        features, settings.seed,
    )  # fmt: skip
    by_layer = [
        _probe(
            {
                **{name: named[name][str(layer)] for name in _OF_LAYERS},
                ALL_STATES: states[hooks[layer]],
            },
            features, settings.seed,
        )
        for layer in layers
    ]  # fmt: skip
    return {
        **{name: torch.stack([one[name] for one in by_layer]) for name in by_layer[0]},
        **{name: figures[None] for name, figures in same.items()},
    }


def best_layer(
    model: Any, games: Games, features: BoardFeatures, settings: BoardGameSettings
) -> int:
    """The layer whose residual stream is probed best within the train half."""
    train, _ = halves(features.features, seed=settings.seed)
    inside = features.features.rows(train)
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in range(settings.n_layers)]
    states = activations_at(model, games.moves[train], hooks)
    found = [probe_validation(states[hook], inside, settings.seed) for hook in hooks]
    return found.index(max(found))


def _probe(
    bases: Mapping[str, Tensor], features: BoardFeatures, seed: int
) -> dict[str, Float[Tensor, "metrics families s"]]:
    # intervals are over seeds: one resample is the least there is
    comparison = probe_bases(bases, features.features, seed=seed, n_bootstrap=1, probe="ridge")
    return {
        name: torch.stack([features.as_boards(samples[metric].values) for metric in METRICS])
        for name, samples in comparison.samples.items()
    }
