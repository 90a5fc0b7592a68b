"""Figures on the test half with 95 % bootstrap intervals, paired from table to table.

The interval is the percentile interval moved so that the resamples' mean falls on the figure. A
resample holds some examples several times, which raises average precision (with 20 positives of
512 by a tenth). A macro mean keeps that bias while its spread shrinks: in simulations of 20 weak
features the plain percentile interval covered the expected figure in 80 % of cases, this one in 95.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from feature_sets.errors import UserError
from tl_entk.tools.values import is_integer


class Resampling(NamedTuple):
    """What figures of one table must share with those of another to be paired.

    Attributes:
        split: share of the examples in the train half.
        seed: of the split and of the resamples.
        n_bootstrap: resamples of the test half.
    """

    split: float
    seed: int
    n_bootstrap: int


@dataclass(frozen=True)
class IntervalEstimate:
    """A figure on the test half with its 95 % bootstrap interval.

    Attributes:
        value: the figure.
        low: lower end of the interval; NaN where no resample has the figure.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """The figure and its interval as columns of a table.

        Example:
            >>> IntervalEstimate(0.5, 0.25, 0.75).columns("ap")
            {'ap': 0.5, 'ap_low': 0.25, 'ap_high': 0.75}
        """
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


@dataclass(frozen=True, eq=False)
class Samples:
    """One figure of r rows (features, groups), and the same on b bootstrap resamples.

    All rows and all tables of one seed share the resamples, so that a difference of two
    ``Samples`` is paired. A resample in which a row has no positives or no negatives is NaN there:
    a row's interval leaves it out, and a mean over rows takes the rows that have a figure.

    Attributes:
        values: (r,) on the test half itself.
        resampled: (b, r).
        bounds: the least and the largest value that the figure can take.
    """

    values: Float[np.ndarray, " r"]
    resampled: Float[np.ndarray, "b r"]
    bounds: tuple[float, float] = (-np.inf, np.inf)

    def __sub__(self, other: Samples) -> Samples:
        return Samples(self.values - other.values, self.resampled - other.resampled)

    def mean(self, rows: Sequence[int]) -> IntervalEstimate:
        """The mean over some rows, with its interval."""
        value = float(self.values[rows].mean())
        samples = self._over(rows)
        if not len(samples):
            return IntervalEstimate(value, float("nan"), float("nan"))
        # a single resample has no spread, and percentiles of each row are slow
        spread = np.zeros(2)
        if len(samples) > 1:
            spread = np.percentile(samples, (2.5, 97.5)) - samples.mean()
        low, high = np.clip(value + spread, *self.bounds)
        return IntervalEstimate(value, float(low), float(high))

    def _over(self, rows: Sequence[int]) -> Float[np.ndarray, " b"]:
        """Mean over the rows in every resample in which one of them has a figure."""
        chosen = self.resampled[:, rows]
        there = ~np.isnan(chosen)
        some = there.any(1)
        return np.where(there, chosen, 0).sum(1)[some] / there.sum(1)[some]


def rows_of(families: Sequence[str], family: str | None) -> list[int]:
    """Rows of one family; of all for None.

    Raises:
        UserError: if the family is unknown.

    Example:
        >>> rows_of(["tag", "number", "tag"], "tag")
        [0, 2]
    """
    rows = [row for row, name in enumerate(families) if family in (None, name)]
    if not rows:
        raise UserError(f"no family {family!r}: there are {sorted(set(families))}.")
    return rows


def check_bootstrap(n_bootstrap: int) -> None:
    """Refuse to judge without resamples.

    Raises:
        UserError: for fewer than one.
    """
    if not is_integer(n_bootstrap) or n_bootstrap < 1:
        raise UserError(f"n_bootstrap = {n_bootstrap!r}: pass 1 or more; 500 for good intervals.")
