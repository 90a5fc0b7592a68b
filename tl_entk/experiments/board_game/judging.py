"""Judging directions against the board: the best direction for every feature, and controls.

What is judged, and by what, was settled before any result was seen. Figures are AUROC (chance 0.5)
and average precision (chance: the share of windows that have the feature). Directions and signs are
chosen on one half of the windows and judged on the other; so are the best kernel of one backward
pass, the kernel and the baseline that stand for their kind: by average precision over all features
in the train half, of which the test half sees nothing. Controls judge the same methods

- under board features dealt out anew to the windows (chance, with the choice of the best),
- within one predicted move: scores less their mean over the windows of that move, windows of one
  move in one half, so that sorting windows by what is predicted is no help.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_entk.alignment.best_directions import best_directions
from tl_entk.alignment.controls import center_within, shared_groups, varying_labels
from tl_entk.alignment.readout_sweep import Candidate, over_layers, validation
from tl_entk.alignment.splitting import halves, too_rare
from tl_entk.experiments.board_game.directions import Directions, Layers
from tl_entk.experiments.board_game.features import BoardFeatures
from tl_entk.experiments.board_game.settings import METRICS, ONE_BACKWARD

Method = TypeVar("Method", str, Candidate)
# (metric, family, square); NaN where there is no such feature
Figures = Float[Tensor, "metrics families s"]


def validate(
    methods: Mapping[Method, Layers], features: BoardFeatures, seed: int
) -> dict[Method, float]:
    """Average precision of every method within the train half, best first, to choose by.

    Directions are chosen on one half of the train half and judged on the other.

    Args:
        methods: name, or kernel of one backward pass, to layer to scores.
        features: of the same windows.
        seed: of the split.
    """
    train, _ = halves(features.features, seed=seed)
    inside = features.features.rows(train)
    found = {
        name: validation(over_layers(layers)[0][train], inside, seed)
        for name, layers in methods.items()
    }
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def methods_of(found: Directions, chosen: Candidate) -> dict[str, Layers]:
    """Every method by name, the chosen kernel of one backward pass among them."""
    return {**found.kernels, ONE_BACKWARD: found.candidates[chosen], **found.baselines}


def judge_methods(
    methods: Mapping[str, Layers],
    features: BoardFeatures,
    seed: int,
    groups: Int[np.ndarray, " n"] | None = None,
) -> dict[str, Figures]:
    """The best direction of every method for every feature, on the test half.

    Args:
        methods: name to layer to scores.
        features: of the same windows.
        seed: of the split.
        groups: of the windows, each in one half.
    """
    figures = {}
    for name, layers in methods.items():
        columns, places = over_layers(layers)
        # intervals are over seeds: one resample is the least there is
        table = best_directions(
            columns, features.features, seed=seed, n_bootstrap=1, n_permutations=0,
            columns=places, groups=groups,
        )  # fmt: skip
        figures[name] = torch.stack(
            [features.as_boards(table.samples[metric].values) for metric in METRICS]
        )
    return figures


def judge_dealt_anew(
    methods: Mapping[str, Layers], features: BoardFeatures, seed: int
) -> dict[str, Figures]:
    """The same for boards dealt out anew to the windows: what the best of many reach by chance."""
    order = np.random.default_rng(seed).permutation(len(features.features.values))
    dealt = features.features.rows(order)
    return judge_methods(methods, BoardFeatures(dealt, features.places, features.squares), seed)


def judge_within_prediction(
    methods: Mapping[str, Layers],
    features: BoardFeatures,
    predicted: Int[Tensor, " n"],
    seed: int,
) -> dict[str, Figures]:
    """The same within the windows of one predicted move; nothing where too few features vary there.

    Args:
        methods: name to layer to scores.
        features: of the same windows.
        predicted: the model's first choice in each.
        seed: of the split.
    """
    rows = shared_groups(predicted)
    groups = predicted.numpy()[rows]
    varying = varying_labels(features.features, predicted)
    if not varying:
        return {}
    kept = features.keep(varying)
    kept = BoardFeatures(kept.features.rows(rows), kept.places, kept.squares)
    rare = too_rare(kept.features, seed=seed, groups=groups)
    if len(rare) == len(kept.features):
        return {}
    kept = kept.keep([name for name in kept.features.names if name not in rare])
    inside = {
        name: {layer: center_within(scores[rows], groups) for layer, scores in layers.items()}
        for name, layers in methods.items()
    }
    return judge_methods(inside, kept, seed, groups)
