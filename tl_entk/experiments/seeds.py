"""Figures over several seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from scipy import stats

from tl_entk.alignment.bootstrap import IntervalEstimate


def mean_over_seeds(
    values: Iterable[float], bounds: tuple[float, float] = (-math.inf, math.inf)
) -> IntervalEstimate:
    """The mean with its 95 % interval by Student's t, mean +- t s / sqrt(n).

    Args:
        values: one for each seed; what is not finite is left out, and of a single one the interval
            is unknown, NaN.
        bounds: the least and the largest value there can be.

    Example:
        >>> found = mean_over_seeds([1.0, 2.0, 3.0])
        >>> found.value, round(found.low, 2), round(found.high, 2)
        (2.0, -0.48, 4.48)
    """
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return IntervalEstimate(math.nan, math.nan, math.nan)
    mean = float(np.mean(known))
    if len(known) < 2:
        return IntervalEstimate(mean, math.nan, math.nan)
    half = float(stats.t.ppf(0.975, len(known) - 1) * stats.sem(known))
    return IntervalEstimate(mean, max(bounds[0], mean - half), min(bounds[1], mean + half))
