"""What several seeds of the board game say together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.alignment.names import PCA, RANDOM
from tl_entk.experiments.board_game.analysis import BoardGameResult
from tl_entk.experiments.board_game.settings import (
    ALL_STATES,
    AP,
    AUROC,
    FAMILIES,
    FROM_MOVES,
    KERNELS,
    METRICS,
)
from tl_entk.experiments.seeds import mean_over_seeds

BoardSeeds = Mapping[int, BoardGameResult]
Boards = Float[Tensor, "metrics families s"]
# every seed's figures of one method; None where a seed has none
FiguresOf = Callable[[BoardGameResult], Boards | None]

BEST_KERNEL = "best kernel"
BEST_STATES = "best of the model's states"
BEST_MOVES = "best of the moves alone"


class Roles(NamedTuple):
    """The methods that stand for their kind, chosen within the train half.

    Attributes:
        kernel: the best kernel.
        states: the strongest baseline made of the model's states.
        moves: the best that is made of the moves alone.
    """

    kernel: str
    states: str
    moves: str


def choose_roles(validations: Mapping[str, float]) -> Roles:
    """Who stands for its kind.

    Args:
        validations: method to its average precision within the train half.

    Example:
        >>> from tl_entk.experiments.board_game.settings import DISCS, MOVES_PCA
        >>> values = dict.fromkeys(KERNELS, 0.5) | {PCA: 0.4, RANDOM: 0.9, DISCS: 0.3, MOVES_PCA: 0}
        >>> choose_roles(values)
        Roles(kernel='eNTK of all logits, W_out', states='PCA', moves='moves, disc by disc')
    """
    others = {*KERNELS, *FROM_MOVES, RANDOM}
    states = [name for name in validations if name not in others]
    kinds = (KERNELS, states, tuple(FROM_MOVES))
    return Roles(*(max(names, key=validations.__getitem__) for names in kinds))


def figures_of_roles() -> dict[str, FiguresOf]:
    """Role, or method, to every seed's figures of the trained model, as a page compares them."""
    return {
        BEST_KERNEL: lambda seed: seed.trained[choose_roles(seed.validations).kernel],
        BEST_STATES: lambda seed: seed.trained[choose_roles(seed.validations).states],
        PCA: lambda seed: seed.trained[PCA],
        BEST_MOVES: lambda seed: seed.trained[choose_roles(seed.validations).moves],
        RANDOM: lambda seed: seed.trained[RANDOM],
        "probe on all states": lambda seed: seed.probes[ALL_STATES][seed.probe_layer],
    }


def family_means(figures: Boards) -> Float[Tensor, "metrics families"]:
    """Mean over the squares that have a feature; NaN for a family without."""
    return figures.nanmean(-1)


def figure_over_seeds(
    seeds: BoardSeeds, of: FiguresOf, family: str | None, metric: str = AUROC
) -> IntervalEstimate:
    """A method's macro figure over seeds.

    Args:
        seeds: seed to result.
        of: the method's figures in a seed.
        family: of the features; None for the mean of the families' means.
        metric: "auroc", or "ap" above chance, which is less the share of windows with the feature.
    """
    return mean_over_seeds(_seed_figure(seed, of, family, metric) for seed in seeds.values())


def difference_over_seeds(
    seeds: BoardSeeds, of: FiguresOf, other: FiguresOf, family: str | None
) -> IntervalEstimate:
    """One method's macro AUROC less another's, paired by seed."""
    return mean_over_seeds(
        _seed_figure(seed, of, family, AUROC) - _seed_figure(seed, other, family, AUROC)
        for seed in seeds.values()
    )


def _seed_figure(seed: BoardGameResult, of: FiguresOf, family: str | None, metric: str) -> float:
    figures = of(seed)
    if figures is None:
        return float("nan")
    if metric == AP:
        figures = figures - seed.shares
    means = family_means(figures)[METRICS.index(metric)]
    if family is None:
        return float(means.nanmean())
    return float(means[list(FAMILIES).index(family)])


def boards_over_seeds(seeds: BoardSeeds, of: FiguresOf) -> Float[Tensor, "families s"]:
    """AUROC of every feature, over the seeds that have it."""
    found = [figures for seed in seeds.values() if (figures := of(seed)) is not None]
    return torch.stack([figures[METRICS.index(AUROC)] for figures in found]).nanmean(0)
