"""The matrix-free kernel of any component: products with vectors, the matrix never formed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.cost import Estimate, best_block_size, expected_products
from tl_entk.operator.plan import OperatorPlan, Sizes, plan_operator
from tl_entk.operator.precision import Precision, matrix_products
from tl_entk.operator.suffix import Cache, Gradients, Graph, Suffix, add_to
from tl_entk.operator.unembedding_terms import UnembeddingTerms
from tl_entk.tools.progress import Progress
from tl_entk.tools.timing import seconds

# the estimate's measurement: tokens run, and vectors at a time
_SAMPLE_TOKENS = 256
_MEASURED = 4
# what tells a kernel from others, of everything its provenance says
IDENTITY = (
    "model", "model_class", "model_dtype", "tokens_sha256", "component", "readout", "position",
    "kernel_dtype", "precision", "normalization",
)  # fmt: skip


@dataclass(eq=False)
class Chunk:
    """Some examples, with what is kept of them: a graph, what a replay needs, or nothing."""

    rows: slice
    graph: Graph | None = None
    cache: Cache | None = None

    def alone(self) -> Chunk:
        """The same chunk when there is no other."""
        return replace(self, graph=self.graph.alone()) if self.graph else self


class KernelOperator:
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
        plan: chunks, and which of them keep their graph.
    """

    def __init__(
        self,
        suffix: Suffix | None,
        root: Float[Tensor, "d d"] | None,
        terms: UnembeddingTerms | None,
        *,
        n: int,
        d: int,
        scale: float,
        sizes: Sizes,
        gradient_bytes: int,
        memory_budget: int,
        dtype: torch.dtype,
        device: torch.device,
        provenance: dict[str, Any],
    ) -> None:
        self.n, self.d = n, d
        self.shape = (n * d, n * d)
        self.dtype, self.device = dtype, device
        self.provenance = provenance
        self.identity = {key: str(provenance[key]) for key in IDENTITY if key in provenance}
        self.exact = suffix is None or suffix.precision == "full"
        self._suffix, self._root, self._terms = suffix, root, terms
        self._scale = scale
        self._precision: Precision = suffix.precision if suffix else "full"
        self._sizes, self._gradient_bytes, self._budget = sizes, gradient_bytes, memory_budget
        self._chunks: list[Chunk] = []
        self._weights = list(suffix.adapter.model.parameters()) if suffix else []
        self._versions = [weight._version for weight in self._weights]
        self.plan = self._planned()

    def __repr__(self) -> str:
        return (
            f"KernelOperator({self.provenance.get('component')}, {self.shape[0]} x "
            f"{self.shape[1]}, {self.dtype}, {self.device})"
        )

    def __matmul__(self, x: Float[Tensor, "nd ..."]) -> Float[Tensor, "nd ..."]:
        """K~ x for a vector (N d,) or a block of vectors (N d, b).

        Raises:
            UserError: if x is no tensor,
                or if x has another number of rows.
            RuntimeError: if the model's weights have changed since the operator was made.
        """
        if not isinstance(x, Tensor):
            raise UserError(f"x is a {type(x).__name__}: pass a tensor, or use .to_scipy().")
        if x.ndim not in (1, 2) or len(x) != self.shape[0]:
            raise UserError(
                f"x has shape {tuple(x.shape)}: pass ({self.shape[0]},) or ({self.shape[0]}, b)."
            )
        if not x.dtype.is_floating_point:
            raise UserError(f"x has dtype {x.dtype}: pass floating-point numbers.")
        blocks = x.detach().to(self.device, self.dtype).reshape(self.n, self.d, -1)
        parts = [self._multiply(part) for part in blocks.split(self.plan.columns, dim=2)]
        return torch.cat(parts, 2).reshape(x.shape).to(x.device)

    def to_scipy(self) -> LinearOperator:
        """The operator for scipy.sparse.linalg, for example ``eigsh(op.to_scipy(), k=5)``."""
        kind = np.dtype(str(self.dtype).removeprefix("torch."))

        def multiply(x: np.ndarray) -> np.ndarray:
            return (self @ torch.from_numpy(np.ascontiguousarray(x, dtype=kind))).numpy()

        return LinearOperator(
            self.shape, matvec=multiply, rmatvec=multiply, matmat=multiply, dtype=kind
        )

    def to_dense(self) -> Float[Tensor, "nd nd"]:
        """The whole matrix, (N d, N d): for small kernels only."""
        return self @ torch.eye(self.shape[0], dtype=self.dtype, device=self.device)

    def prepare(self, progress: bool = False) -> None:
        """Run the forward pass, and keep what the plan keeps; the first product does it else."""
        if self._chunks or self._suffix is None:
            return
        self._check_weights()
        while not self._try_to_prepare(progress):
            self._shrink()

    def _try_to_prepare(self, progress: bool) -> bool:
        """Whether the device had memory for it; what failed is let go of before the next try."""
        chunks: list[Chunk] = []
        with Progress("forward pass", self.n, progress) as bar:
            starts = range(0, self.n, self.plan.chunk)
            for index, start in enumerate(starts):
                rows = slice(start, min(start + self.plan.chunk, self.n))
                try:
                    chunks.append(self._prepared(rows, kept=index < self.plan.kept))
                except torch.OutOfMemoryError:
                    return False
                bar.advance(rows.stop - rows.start)
        self._chunks = [chunks[0].alone()] if len(chunks) == 1 else chunks
        return True

    def estimate(self, k: int = 25, *, block_size: int | None = None) -> Estimate:
        """What the top k eigenpairs will take, from a short measurement on this machine.

        Args:
            k: how many pairs.
            block_size: vectors multiplied at a time; default what is fastest.
        """
        setup, one, further = self._measure()
        if block_size is None and self._suffix is None:
            block_size = k  # closed forms cost little, and have each eigenvalue many times
        if block_size is None:
            block_size = best_block_size(one, further)
        block_size = min(block_size, self.shape[0])
        products = min(expected_products(k, block_size), self.shape[0])
        return Estimate(setup, one, further, products, block_size, self.plan.memory, self._budget)

    def _measure(self) -> tuple[float, float, float]:
        """Seconds of the set-up, of a product, and of each further vector in it."""
        generator = torch.Generator().manual_seed(0)
        vectors = torch.randn(self.n, self.d, _MEASURED, generator=generator)
        vectors = vectors.to(self.device, self.dtype)
        if self._suffix is None:
            one = self._seconds(lambda: self._multiply(vectors[:, :, :1]))
            several = self._seconds(lambda: self._multiply(vectors))
            return 0.0, one, max(0.0, several - one) / (_MEASURED - 1)
        length = self._suffix.tokens.shape[1]
        sample = min(self.plan.chunk, max(2, -(-_SAMPLE_TOKENS // length)))
        rows = slice(0, sample)
        setup = one = several = 0.0
        kept = min(self.n, self.plan.kept * self.plan.chunk)
        for count, keep in ((kept, True), (self.n - kept, False)):
            if count == 0:
                continue
            prepared: list[Chunk] = []

            def prepare(keep: bool = keep, prepared: list[Chunk] = prepared) -> None:
                prepared.append(self._prepared(rows, kept=keep))

            setup += seconds(prepare, self.device) * count / sample
            times = []
            for b in (1, _MEASURED):
                columns = vectors[:, :, :b].unbind(2)

                def sweep(chunk: Chunk = prepared[0], columns: Any = columns) -> None:
                    self._pushed(chunk, self._pulled(chunk, columns))

                with matrix_products(self._precision):
                    times.append(self._seconds(sweep) * count / sample)
            one, several = one + times[0], several + times[1]
        return setup, one, max(0.0, several - one) / (_MEASURED - 1)

    def _seconds(self, work: Callable[[], Any]) -> float:
        """The better of two calls after a first, which sets up libraries."""
        work()
        return min(seconds(work, self.device) for _ in range(2))

    def _prepared(self, rows: slice, *, kept: bool) -> Chunk:
        assert self._suffix is not None
        if kept:
            return Chunk(rows, graph=self._suffix.graph(rows))
        return Chunk(rows, cache=self._suffix.record(rows) if self.plan.cached else None)

    def _planned(self, chunk: int | None = None, *, keep: bool = True) -> OperatorPlan:
        length = self._suffix.tokens.shape[1] if self._suffix else 1
        return plan_operator(
            self._sizes,
            n=self.n,
            length=length,
            gradient_bytes=self._gradient_bytes,
            vector_bytes=self.shape[0] * self.dtype.itemsize,
            memory_budget=self._budget,
            device=self.device,
            chunk=chunk,
            keep=keep and self._suffix is not None and self._suffix.double_backward,
        )

    def _shrink(self) -> None:
        """After the device ran out of memory: half the examples at a time, no graph kept."""
        chunk = self.plan.chunk
        self._chunks = []
        if chunk == 1:
            raise torch.OutOfMemoryError(
                "the device has too little memory for a single example: use fewer components or "
                "shorter windows."
            )
        self.plan = self._planned(chunk // 2, keep=False)
        warnings.warn(
            f"the device ran out of memory with {chunk} examples at a time; going on with "
            f"{chunk // 2}, and without keeping their graphs.",
            RuntimeWarning,
            stacklevel=4,
        )

    def _check_weights(self) -> None:
        if [weight._version for weight in self._weights] != self._versions:
            raise RuntimeError(
                "the model's weights have changed since the operator was made: make a new one."
            )

    def _multiply(self, x: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        """K~ x for as many vectors as one sweep takes."""
        result = torch.zeros_like(x)
        if self._terms is not None:
            result += self._terms.multiply(x)
        if self._suffix is None:
            return result.mul_(self._scale)
        root = self._root
        columns = [v if root is None else v @ root for v in x.unbind(2)]
        network = None
        while network is None:
            self.prepare()
            network = self._try_to_sweep(columns)
        for column, part in enumerate(network):
            result[:, :, column] += part if root is None else part @ root
        return result.mul_(self._scale)

    def _try_to_sweep(self, columns: Sequence[Tensor]) -> list[Tensor] | None:
        """J J^T for some vectors; after the device ran out of memory None, with a smaller plan."""
        try:
            with matrix_products(self._precision):
                return self._sweep(columns)
        except torch.OutOfMemoryError:
            pass  # what failed is let go of first
        self._shrink()
        return None

    def _sweep(self, cotangents: Sequence[Float[Tensor, "n d"]]) -> list[Float[Tensor, "n d"]]:
        """J J^T of the network for some vectors: all examples back, then all forward."""
        self._check_weights()
        gradients: list[Gradients] = [{} for _ in cotangents]
        for chunk in self._chunks:
            for total, pulled in zip(gradients, self._pulled(chunk, cotangents), strict=True):
                add_to(total, pulled)
        # here, and only here, gradients of several machines would be added up
        cross = self._terms.exchange(cotangents, gradients) if self._terms is not None else None
        results = [torch.zeros_like(v) for v in cotangents] if cross is None else cross
        for chunk in self._chunks:
            for result, part in zip(results, self._pushed(chunk, gradients), strict=True):
                result[chunk.rows] += part
        return results

    def _pulled(self, chunk: Chunk, cotangents: Sequence[Tensor]) -> list[Gradients]:
        assert self._suffix is not None
        graph = chunk.graph or self._suffix.graph(chunk.rows, chunk.cache, push=False)
        return [graph.pull(cotangent[chunk.rows]) for cotangent in cotangents]

    def _pushed(self, chunk: Chunk, gradients: Sequence[Gradients]) -> list[Tensor]:
        suffix, graph = self._suffix, chunk.graph
        assert suffix is not None
        # a pass forward costs a forward pass each; one graph for them all pays from three on
        if graph is None and (len(gradients) > 2 or not suffix.forward_mode):
            graph = suffix.graph(chunk.rows, chunk.cache) if suffix.double_backward else None
        if graph is not None:
            return [graph.push(change) for change in gradients]
        return [suffix.push(chunk.rows, chunk.cache, change) for change in gradients]
