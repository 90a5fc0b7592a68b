"""The matrix-free kernel of any component: products with vectors, the matrix never formed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.directions.cost import Estimate, best_block_size, expected_products
from tl_entk.directions.symmetric_operator import SymmetricOperator
from tl_entk.operator.network import ChunkedNetwork, Timing
from tl_entk.operator.plan import OperatorPlan, Sizes, plan_operator
from tl_entk.operator.unembedding_terms import UnembeddingTerms
from tl_entk.tools.ranks import ALONE, Ranks
from tl_entk.tools.timing import best_seconds
from tl_entk.tools.values import check_at_least

# vectors at a time, in the estimate's measurement
_MEASURED = 4


@dataclass(frozen=True, eq=False)
class Parts:
    """What a kernel is the sum of: K~ = scale (S^1/2 J J^T S^1/2 + the unembedding's terms).

    Attributes:
        network: J J^T; None where the components are the unembedding alone.
        root: S^1/2, (d, d); None where nothing is whitened.
        terms: the unembedding's part, in closed form.
        scale: factor of the readout.
    """

    network: ChunkedNetwork | None
    root: Float[Tensor, "d d"] | None = None
    terms: UnembeddingTerms | None = None
    scale: float = 1.0


class KernelOperator(SymmetricOperator):
    """K~ = S^1/2 J J^T S^1/2 of some weights, as something to multiply with.

    Made by :func:`kernel_operator`. Rows are example-major: number i of example n is row
    n * d + i. Nothing large happens before the first product, or :meth:`prepare`.

    Attributes:
        shape: (N d, N d).
        n: examples N.
        d: numbers read per example (the model's width for the final hidden vector).
        dtype: number format of vectors.
        device: where products are computed.
        provenance: model, component, readout, formats and versions.
        components: names of the weights, none within another.
    """

    def __init__(
        self,
        parts: Parts,
        components: list[str],
        n: int,
        d: int,
        *,
        memory_budget: int,
        dtype: torch.dtype,
        device: torch.device,
        provenance: Mapping[str, Any],
        identity: Mapping[str, str],
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(
            n,
            d,
            dtype=dtype,
            device=device,
            provenance=provenance,
            identity=identity,
            exact=parts.network is None or parts.network.suffix.precision == "full",
            space=None if parts.root is None else "final_hidden",
            ranks=ranks,
        )
        self._parts, self._budget = parts, memory_budget
        self.components = components

    @property
    def network(self) -> ChunkedNetwork | None:
        """The part that runs the model; None where the components are the unembedding alone."""
        return self._parts.network

    @property
    def plan(self) -> OperatorPlan:
        """Chunks, and which of them keep their graph."""
        return self._closed_form_plan if self.network is None else self.network.plan

    @cached_property
    def _closed_form_plan(self) -> OperatorPlan:
        """How many vectors at a time, where no network is run."""
        return plan_operator(
            Sizes(0, 0),
            n=self._own,
            length=1,
            vector_bytes=self._own * self.d * self.dtype.itemsize,
            memory_budget=self._budget,
            device=self.device,
            keep=False,
        )

    def prepare(self, progress: bool = False) -> None:
        """Run the forward pass, and keep what the plan keeps; the first product does it else."""
        if self.network is not None:
            self.network.prepare(progress)

    def estimate(self, k: int = 25, *, block_size: int | None = None) -> Estimate:
        """What the top k eigenpairs will take, from a short measurement on this machine.

        Args:
            k: how many pairs.
            block_size: vectors multiplied at a time; default what is fastest.

        Raises:
            UserError: for what is no number of pairs or vectors.
        """
        check_at_least("k", k)
        check_at_least("block_size", 1 if block_size is None else block_size)
        timing = self._measure()
        if block_size is None:
            block_size = self.default_block_size(k, timing)
        block_size = min(block_size, self.shape[0])
        products = min(expected_products(k, block_size), self.shape[0])
        return Estimate(
            timing.setup,
            timing.product,
            timing.further,
            products,
            block_size,
            self.plan.memory,
            self._budget,
        )

    def default_block_size(self, k: int, timing: Timing | None = None) -> int:
        """Vectors to multiply at a time, where nothing else is asked for.

        Measured where that may matter: vectors of one block share a forward pass that is run
        again for every product, and nothing else.

        Args:
            k: pairs wanted.
            timing: of products, where it is known.
        """
        if self.network is None:
            return k  # closed forms cost little, and have each eigenvalue many times
        if self.ranks.from_first(self.plan.keeps_all(self._own)):
            return 1
        timing = self._measure() if timing is None else timing
        return self.ranks.from_first(best_block_size(timing.product, timing.further))

    @property
    def _own(self) -> int:
        """Examples of this process."""
        share = self.ranks.share(self.n)
        return share.stop - share.start

    def _measure(self) -> Timing:
        generator = torch.Generator().manual_seed(0)
        vectors = torch.randn(self._own, self.d, _MEASURED, generator=generator)
        vectors = vectors.to(self.device, self.dtype)
        if self.network is not None:
            return self.network.measure(vectors)
        one, several = (
            best_seconds(lambda b=b: self._multiply_some(vectors[:, :, :b]), self.device)  # type: ignore[misc]
            for b in (1, _MEASURED)
        )
        return Timing(0.0, one, max(0.0, several - one) / (_MEASURED - 1))

    def _multiply(self, x: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        return torch.cat([self._multiply_some(p) for p in x.split(self.plan.columns, dim=2)], 2)

    def _multiply_some(self, x: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        """K~ x for as many vectors as one sweep takes."""
        network, root, terms = self._parts.network, self._parts.root, self._parts.terms
        result = torch.zeros_like(x) if terms is None else terms.multiply(x)
        if network is not None:
            columns = [v if root is None else v @ root for v in x.unbind(2)]
            for column, part in enumerate(network.multiply(columns)):
                result[:, :, column] += part if root is None else part @ root
        return result.mul_(self._parts.scale)
