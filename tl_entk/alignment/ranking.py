r"""Ranking metrics of many score columns, labels and bootstrap resamples at once.

A column of scores is sorted once. Going down the order, let :math:`T_g` be the weight of the
positives and :math:`N_g` the weight of all examples that score at least the g-th distinct score;
examples of one score, tied, come in together. Every metric is read off these two sums:

.. math::
    AP = \sum_g \frac{T_g - T_{g-1}}{T} \frac{T_g}{N_g}, \qquad
    AUROC = \sum_g \frac{(F_g - F_{g-1}) (T_g + T_{g-1})}{2\, T F}, \quad F_g = N_g - T_g,

and the precision at quota is the share of positives among the first T examples, where T is the
number of positives: :math:`T_g / T` interpolated at :math:`N_g = T`, which is the expectation when
examples tied at the cut are taken in random order. A bootstrap resample is a weight per example,
the times it was drawn. So one order serves any number of label vectors and of resamples.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from feature_sets.errors import UserError

AP = "ap"
# metric of a ranking to the values it can take
METRICS = {
    AP: (0.0, 1.0),
    "auroc": (0.0, 1.0),
    "precision": (0.0, 1.0),
    "enrichment": (0.0, float("inf")),
}


def check_metric(metric: Any, known: Collection[str] = tuple(METRICS)) -> None:
    """Refuse an unknown metric.

    Raises:
        UserError: names those that there are.
    """
    if not isinstance(metric, str) or metric not in known:
        raise UserError(f"no metric {metric!r}: there are {', '.join(known)}.")


@dataclass(frozen=True, eq=False)
class Curve:
    """Running sums down one column's order, for m cases (label vectors or resamples).

    Attributes:
        positives: (g, m) weight of the positives at or above each distinct score, best first.
        everything: (g, m) or (g, 1) weight of all examples at or above it.
    """

    positives: Float[np.ndarray, "g m"]
    everything: Float[np.ndarray, " g #m"]

    def metrics(self) -> dict[str, Float[np.ndarray, " m"]]:
        """All of ``METRICS``; NaN for a case without positives or without negatives."""
        total, size = self.positives[-1], self.everything[-1]
        gained = np.diff(self.positives, axis=0, prepend=0)
        before = self.positives - gained
        negatives = np.diff(self.everything, axis=0, prepend=0) - gained
        with np.errstate(divide="ignore", invalid="ignore"):
            possible = np.where((total > 0) & (size > total), 1.0, np.nan)
            precision = np.where(self.everything > 0, self.positives / self.everything, 0)
            at_quota = possible * self._hits(before) / total
            return {
                AP: possible * (gained * precision).sum(0) / total,
                "auroc": possible
                * (negatives * (before + gained / 2)).sum(0)
                / (total * (size - total)),
                "precision": at_quota,
                "enrichment": at_quota * size / total,
            }

    def _hits(self, before: Float[np.ndarray, "g m"]) -> Float[np.ndarray, " m"]:
        """Positives among the first T examples."""
        quota, cases = self.positives[-1], np.arange(self.positives.shape[1])
        everything = np.broadcast_to(self.everything, self.positives.shape)
        # the group that the cut falls into; rounding may leave the last sum just below the quota
        cut = np.minimum((everything < quota).sum(0), len(everything) - 1)
        above = np.where(cut > 0, everything[cut - 1, cases], 0)
        width = everything[cut, cases] - above
        share = np.where(width > 0, (quota - above) / np.where(width > 0, width, 1), 0)
        gained = self.positives[cut, cases] - before[cut, cases]
        return before[cut, cases] + share * gained


class Ranking:
    """The examples in the order of one score column, best first.

    Args:
        scores: (n,) finite numbers.

    Example:
        >>> ranking = Ranking(np.array([3.0, 1.0, 2.0]))
        >>> ranking.curve(np.array([[1.0], [0.0], [0.0]])).metrics()["ap"].tolist()
        [1.0]
    """

    def __init__(self, scores: Shaped[np.ndarray, " n"]) -> None:
        self.order = np.argsort(-scores.astype(np.float64), kind="stable")
        ranked = scores[self.order]
        new = np.append(True, ranked[1:] != ranked[:-1])
        self._starts = np.flatnonzero(new)
        self._tied = len(self._starts) < len(scores)
        ends = np.append(self._starts[1:], len(scores))
        # 1 / N_g from the best score down, and from the worst up: the column with its sign turned
        self._shares = 1 / np.stack([ends, len(scores) - self._starts]).astype(np.float64)

    def curve(
        self,
        labels: Float[np.ndarray, " n #m"],
        weights: Float[np.ndarray, " n #m"] | None = None,
    ) -> Curve:
        """Running sums of labels (0 and 1) under weights; without these, every example counts 1."""
        if weights is None:
            weights = np.ones((len(labels), 1))
        return Curve(
            _running_sum(self._gains(labels * weights)), _running_sum(self._gains(weights))
        )

    def average_precisions(self, labels: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "2 m"]:
        """Average precision of the column and of its negative, for m label vectors.

        With y_g the positives of a score, the negative's sums are T - T_g + y_g: no second order.
        The result has the precision of the labels: float32 takes half the time.
        """
        gained = self._gains(labels)
        sums = _running_sum(gained.copy())
        total = sums[-1].copy()
        sums *= gained
        shares = self._shares.astype(labels.dtype)
        down, up = shares @ sums
        singles = shares[1] @ gained
        squares = shares[1] @ gained**2 if self._tied else singles
        return np.stack([down, total * singles - up + squares]) / total

    def _gains(self, values: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "g m"]:
        ranked = values[self.order]
        return np.add.reduceat(ranked, self._starts, axis=0) if self._tied else ranked


def _running_sum(values: Float[np.ndarray, "g m"]) -> Float[np.ndarray, "g m"]:
    # in place, row by row: np.cumsum along the first axis runs down the columns and is 4 x slower
    for row in range(1, len(values)):
        values[row] += values[row - 1]
    return values


def resamples(
    n: int, count: int, seed: int, groups: Int[np.ndarray, " n"] | None = None
) -> Int[np.ndarray, "count n"]:
    """Times each of n examples is drawn in each bootstrap resample: the same for the same numbers.

    Args:
        n: examples.
        count: resamples.
        seed: of the draws.
        groups: number of each example's group, from 0 on: whole groups are drawn then, as many as
            there are, since examples of one group depend on each other.

    Example:
        >>> resamples(5, 2, seed=0).sum(1).tolist()
        [5, 5]
        >>> resamples(3, 1, seed=0, groups=np.array([0, 0, 1])).tolist()
        [[0, 0, 2]]
    """
    units = n if groups is None else int(groups.max()) + 1
    draws = np.random.default_rng(seed).integers(0, units, (count, units))
    times = np.stack([np.bincount(rows, minlength=units) for rows in draws])
    return times if groups is None else times[:, groups]
