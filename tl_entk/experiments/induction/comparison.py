"""Attributions beside known scores, over seeds: rank correlations, leading heads, their rise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.dynamics.grokking import midpoint
from tl_entk.experiments.induction.analysis import (
    SHARE,
    TRACE_SHARE,
    Head,
    InductionResult,
)
from tl_entk.experiments.induction.attributions import BASELINES
from tl_entk.experiments.induction.head_scores import PREFIX, PREVIOUS, HeadScores
from tl_entk.experiments.seeds import mean_over_seeds

Seeds = Mapping[int, InductionResult]

LAYER = "number of the layer"
# what ranks heads without a feature's kernel energy
PLAIN_METHODS = (*BASELINES, LAYER)


def rank_correlation(first: HeadScores, second: HeadScores) -> float:
    """Spearman's rank correlation of two scores over all heads; 0 where one has no order.

    Example:
        >>> rank_correlation(torch.eye(2), 3 * torch.eye(2))
        1.0
    """
    a, b = first.flatten().double().numpy(), second.flatten().double().numpy()
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(scipy.stats.spearmanr(a, b).statistic)


def correlations_over_seeds(seeds: Seeds) -> dict[str, dict[str, IntervalEstimate]]:
    """Method to known score to their rank correlation over heads: mean over the seeds.

    The number of a head's layer is a method too, since a score that is high in one layer alone
    ranks layers; so are the known scores, the last of them, so that what one tells of another
    stands beside what the kernel does.

    Args:
        seeds: seed to result.
    """
    every = [(rankings(result), result.known) for result in seeds.values()]
    (methods, scores), *_ = every
    return {
        method: {
            score: mean_over_seeds(
                [rank_correlation(found[method], known[score]) for found, known in every],
                (-1.0, 1.0),
            )
            for score in scores
            if score != method
        }
        for method in methods
    }


def rankings(result: InductionResult) -> dict[str, HeadScores]:
    """All that ranks the heads of a seed: attributions, the number of the layer, known scores."""
    layers, heads = result.known[PREFIX].shape
    numbers = torch.arange(layers, dtype=torch.float64)[:, None].expand(layers, heads)
    return {**result.attributions, LAYER: numbers, **result.known}


class Leading(NamedTuple):
    """What the kernel says of the head with the largest known score.

    Attributes:
        head: which one.
        score: its known score.
        share: of the feature's energy in all heads' kernels.
        rank: of that share among the heads, from 1.
        trace: its share of the kernels' traces, without a feature.
    """

    head: Head
    score: float
    share: float
    rank: int
    trace: float


def leading(result: InductionResult, score: str) -> Leading:
    """The leading head by a known score, and its final share of the kernel of ``target_logit``.

    Args:
        result: of a seed.
        score: name of the known score.
    """
    head = result.leading_head(score)
    share, trace = result.course[SHARE][-1], result.course[TRACE_SHARE][-1]
    return Leading(
        head,
        float(result.known[score][head]),
        float(share[head]),
        int((share > share[head]).sum()) + 1,
        float(trace[head]),
    )


def rises(result: InductionResult) -> dict[str, Float[Tensor, " records"]]:
    """The series whose rise is timed: of the heads that lead at the end, by their own score.

    Args:
        result: of a seed.

    Returns:
        Name to numbers at every record; the loss is that of repeated tokens, and falls.
    """
    induction, previous = result.leading_head(PREFIX), result.leading_head(PREVIOUS)
    course = result.course

    def of(name: str, head: Head) -> Tensor:
        return course[name][:, head.layer, head.head]

    return {
        "loss": torch.tensor(result.losses["repeated"], dtype=torch.float64),
        "prefix matching, induction head": of(PREFIX, induction),
        "attention, previous-token head": of(PREVIOUS, previous),
        "share, induction head": of(SHARE, induction),
        "share, previous-token head": of(SHARE, previous),
        "trace share, induction head": of(TRACE_SHARE, induction),
        "trace share, previous-token head": of(TRACE_SHARE, previous),
    }


def half_way(steps: Sequence[int], values: Float[Tensor, " records"]) -> int | None:
    """First kept step from which on a series is past the middle of its first and last value.

    The rule is that of :func:`tl_entk.midpoint`, a running median of three records, on the share of
    the way that is done.

    Args:
        steps: of the records.
        values: as many; they may fall.

    Returns:
        One of the steps; None for a series that ends as it begins.

    Example:
        >>> half_way([0, 10, 20, 30, 40], torch.tensor([3.0, 3.0, 1.0, 0.5, 0.5]))
        20
    """
    way = values[-1] - values[0]
    if way == 0:
        return None
    return midpoint(steps, ((values - values[0]) / way).clamp(0, 1))
