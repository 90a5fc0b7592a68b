"""Rows of a matrix that processes have shares of: what must be added up over them all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.tools.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Rows:
    """The rows of a matrix, and which of them this process has.

    Attributes:
        count: of all processes together.
        d: rows of an example: those of one example are never apart.
        ranks: the processes.

    Example:
        >>> v = torch.tensor([[3.0], [4.0]])
        >>> Rows(2).inner(v, v).tolist(), Rows(2).norms(v).tolist()
        ([[25.0]], [5.0])
    """

    count: int
    d: int = 1
    ranks: Ranks = ALONE

    @property
    def own(self) -> slice:
        """The rows of this process."""
        share = self.ranks.share(self.count // self.d)
        return slice(share.start * self.d, share.stop * self.d)

    def inner(self, a: Float[Tensor, "rows m"], b: Float[Tensor, "rows k"]) -> Float[Tensor, "m k"]:
        """a^T b over all rows, where and as a is."""
        product = a.T @ b
        self.ranks.add_up(product)
        return product

    def norms(self, vectors: Float[Tensor, "rows b"]) -> Float[Tensor, " b"]:
        """Lengths of the columns over all rows, on the CPU, in float64."""
        squares = vectors.double().square().sum(0)
        self.ranks.add_up(squares)
        return squares.sqrt().cpu()

    def largest(self, vectors: Float[Tensor, "rows b"]) -> float:
        """The largest size of any number; not finite if one is not."""
        size = vectors.abs().amax() if vectors.numel() else vectors.new_zeros(())
        # the largest of several is no NaN that one of them is
        return self.ranks.largest(float(size.nan_to_num(nan=torch.inf)))

    def gather(self, vectors: Float[Tensor, "rows b"]) -> Float[Tensor, "count b"] | None:
        """All rows on the first process; None on the others."""
        found = self.ranks.gather(self._by_example(vectors), self.count // self.d)
        return None if found is None else found.flatten(0, 1)

    def join(self, vectors: Float[Tensor, "rows b"]) -> Float[Tensor, "count b"]:
        """All rows on every process."""
        return self.ranks.join(self._by_example(vectors), self.count // self.d).flatten(0, 1)

    def _by_example(self, vectors: Float[Tensor, "rows b"]) -> Float[Tensor, "n d b"]:
        return vectors.unflatten(0, (-1, self.d))

    def random(
        self, width: int, generator: torch.Generator, like: Float[Tensor, "rows m"]
    ) -> Float[Tensor, "rows b"]:
        """Normal numbers, the same whatever the number of processes, where and as ``like`` is."""
        drawn = torch.randn(self.count, width, generator=generator, dtype=torch.float64)
        return drawn[self.own].to(like.device, like.dtype)
