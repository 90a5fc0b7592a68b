"""The steps that one kernel direction and its rivals are, for one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tl_entk.experiments.language.causal.directions import (
    choose,
    label_directions,
    principal_directions,
)
from tl_entk.experiments.language.causal.odds import label_log_odds
from tl_entk.experiments.language.causal.result import (
    GRADIENT,
    KERNEL,
    PCA,
    RANDOM_SPAN,
    RANDOM_STATES,
    RANDOM_WEIGHTS,
    SPAN,
    STANDARDIZED,
)
from tl_entk.experiments.language.causal.steps import Step, step_activations, step_weights
from tl_entk.model.readouts import Readout
from tl_entk.weight_space.directions import WeightDirection
from tl_entk.weight_space.gradient import mean_gradient
from tl_entk.weight_space.nudge import ablate

# of what is drawn at random; singular vectors of a span
DRAWS, RANK = 3, 4

Parts = Mapping[str, Float[Tensor, " ..."]]
Removal = AbstractContextManager[Any]


def weight_steps(
    model: nn.Module,
    direction: WeightDirection,
    norm: float,
    gradient: Parts,
    seed: int,
) -> dict[str, list[Step]]:
    """Steps of the weights: the kernel's, random ones, the label's own gradient.

    Args:
        model: whose weights.
        direction: the kernel's.
        norm: of the weights.
        gradient: of the label's log-odds, by the same weights.
        seed: of the random ones.
    """
    draws = [draw_like(direction.weights, seed + i) for i in range(DRAWS)]
    return {
        KERNEL: [step_weights(model, direction.weights, norm)],
        RANDOM_WEIGHTS: [step_weights(model, draw, norm) for draw in draws],
        GRADIENT: [step_weights(model, _unit(gradient), norm)],
    }


def activation_steps(
    model: nn.Module,
    hook: str,
    activations: Float[Tensor, "n d"],
    label: Float[np.ndarray, " n"],
    k: int,
    seed: int,
) -> dict[str, list[Step]]:
    """Steps of the activations: the best principal component, a probe's, random ones.

    Args:
        model: whose activations.
        hook: where.
        activations: there, of the train half.
        label: of its windows.
        k: principal components to choose from.
        seed: of the random ones.
    """
    directions: dict[str, list[Tensor]] = {}
    for name, standardized in ((PCA, False), (STANDARDIZED, True)):
        axes, scores = principal_directions(activations, k, standardized=standardized)
        directions[name] = [axes[:, choose(scores, label).column]]
    directions |= {name: [axis] for name, axis in label_directions(activations, label).items()}
    generator = torch.Generator().manual_seed(seed)
    width = activations.shape[1]
    directions[RANDOM_STATES] = [torch.randn(width, generator=generator) for _ in range(DRAWS)]
    return {
        name: [step_activations(model, hook, axis, activations) for axis in axes]
        for name, axes in directions.items()
    }


def without_each(steps: Mapping[str, Sequence[Step]]) -> dict[str, list[Removal]]:
    """Models without the direction of each step."""
    return {name: [step.remove() for step in several] for name, several in steps.items()}


def removals(
    model: nn.Module, steps: Mapping[str, Sequence[Step]], direction: WeightDirection, seed: int
) -> dict[str, list[Removal]]:
    """Models without each direction, and without the span that the kernel's reads and writes.

    Args:
        model: to be changed.
        steps: of every method.
        direction: the kernel's.
        seed: of the random span.
    """
    found = without_each(steps)
    matrices = {name: part for name, part in direction.weights.items() if part.ndim > 1}
    if matrices:
        draws = [draw_like(matrices, seed + i) for i in range(DRAWS)]
        found[SPAN] = [ablate(model, matrices, span=RANK)]
        found[RANDOM_SPAN] = [ablate(model, draw, span=RANK) for draw in draws]
    return found


def label_gradient(
    model: nn.Module,
    tokens: Int[Tensor, "n t"],
    components: Sequence[str],
    members: Float[Tensor, "d_vocab f"],
    label: int,
) -> dict[str, Float[Tensor, " ..."]]:
    """Gradient of a label's mean log-odds by some weights.

    Args:
        model: in evaluation mode.
        tokens: windows of the train half.
        components: weights.
        members: tokens of every label.
        label: which.
    """
    own = members[:, [label]]

    def log_odds(logits: Float[Tensor, "b c"]) -> Float[Tensor, " b"]:
        return label_log_odds(logits.log_softmax(1), own.to(logits))[:, 0]

    return mean_gradient(model, tokens, list(components), Readout(log_odds, name="log-odds"))


def draw_like(weights: Parts, seed: int) -> dict[str, Float[Tensor, " ..."]]:
    """A random direction of the same weights, of norm 1."""
    generator = torch.Generator().manual_seed(seed)
    return _unit(
        {
            name: torch.randn(part.shape, generator=generator).to(part)
            for name, part in weights.items()
        }
    )


def _unit(weights: Parts) -> dict[str, Float[Tensor, " ..."]]:
    """The direction at norm 1."""
    size = float(sum(part.double().square().sum() for part in weights.values())) ** 0.5
    return {name: part / max(size, 1e-30) for name, part in weights.items()}
