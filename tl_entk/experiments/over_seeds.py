"""Figures over seeds: the mean, and how far it is known."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import stats

from tl_entk.alignment.bootstrap import IntervalEstimate


def mean_over_seeds(values: Iterable[float]) -> IntervalEstimate:
    r"""The mean of a figure over seeds, with its 95 % interval by Student's t.

    .. math:: \bar v \pm t_{0.975, s - 1} \, \hat\sigma / \sqrt s

    Differences within a seed, such as a kernel's figure less a baseline's, are paired this way.

    Args:
        values: a figure per seed; what is not finite is left out, as of a seed that has none.

    Returns:
        NaN for the interval of a single seed, for everything without one.

    Example:
        >>> found = mean_over_seeds([0.5, 0.7])
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
        (0.6, -0.671, 1.871)
    """
    known = np.array([value for value in values if np.isfinite(value)])
    if len(known) == 0:
        return IntervalEstimate(np.nan, np.nan, np.nan)
    mean = float(known.mean())
    if len(known) == 1:
        return IntervalEstimate(mean, np.nan, np.nan)
    wide = float(stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5)
    return IntervalEstimate(mean, mean - wide, mean + wide)
