"""How many products a solve will take, from how fast its residuals fall."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from tl_entk.directions.lanczos import RitzPairs, allowed_residuals


@dataclass
class Forecast:
    """How many products there will be, from how fast the worst residual falls.

    Attributes:
        k: pairs wanted.
        tol: residual, relative to the first eigenvalue.
        total: products expected.
        dtype: number format of the products.
        note: how many pairs have converged, in words.
        history: products, and the logarithm of the worst residual over what is allowed.
    """

    k: int
    tol: float
    total: int
    dtype: torch.dtype
    note: str = ""
    history: list[tuple[int, float]] = field(default_factory=list)

    def update(self, products: int, pairs: RitzPairs) -> int:
        """The products expected now.

        Args:
            products: so far.
            pairs: Ritz pairs after them.
        """
        residuals, dtype = pairs.residuals, self.dtype
        ratios = residuals / allowed_residuals(pairs.values, self.tol, dtype)
        worst = float(ratios.max())
        good, largest = int((ratios <= 1).sum()), float(residuals.max())
        self.note = f"({good} of {self.k} pairs converged, worst residual {largest:.1e})"
        if worst > 0:
            self.history = [*self.history, (products, math.log(worst))][-20:]
        if len(self.history) > 4:
            (first, high), (last, low) = self.history[0], self.history[-1]
            if high > low > 0:
                self.total = last + math.ceil(low * (last - first) / (high - low))
        self.total = max(self.total, products)
        return self.total
