"""J J^T of a network's suffix, in chunks of examples that fit a memory budget.

All examples go back (J^T), their gradients add up, then all go forward (J). A chunk keeps its
forward pass as a graph where the plan has room, or what a replay needs, or nothing. Where the
device runs out of memory all the same, the chunks are halved and no graph is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.warn import warn_user
from tl_entk.model.batches import TOO_LITTLE
from tl_entk.model.finite import check_finite
from tl_entk.model.unchanged import ModelState
from tl_entk.operator.plan import OperatorPlan, Sizes, plan_operator
from tl_entk.operator.precision import matrix_products
from tl_entk.operator.suffix import Cache, Gradients, Graph, Suffix, add_to
from tl_entk.tools.matrix_products import fast_products
from tl_entk.tools.progress import Progress
from tl_entk.tools.ranks import ALONE, Ranks
from tl_entk.tools.timing import best_seconds, seconds

# the measurement: tokens run, and vectors at a time
_SAMPLE_TOKENS = 256
_SEVERAL = 4
T = TypeVar("T")
# cotangents and the gradients that they were taken to, and the processes that have the examples ->
# what is to be added to the products
Exchange = Callable[[Sequence[Tensor], Sequence[Gradients], Ranks], list[Tensor] | None]


def no_exchange(
    _cotangents: Sequence[Tensor], _gradients: Sequence[Gradients], _ranks: Ranks
) -> None:
    """Nothing to add: the kernel is of the network alone."""


@dataclass(eq=False)
class Chunk:
    """Some examples, with what is kept of them: a graph, what a replay needs, or nothing."""

    rows: slice
    graph: Graph | None = None
    cache: Cache | None = None

    def in_token_space(self) -> Chunk:
        """The same chunk where there is no other."""
        return replace(self, graph=self.graph.in_token_space()) if self.graph else self


class Timing(NamedTuple):
    """Seconds of the forward pass, of a product, and of each further vector in it."""

    setup: float
    product: float
    further: float


class ChunkedNetwork:
    """The network after some weights as a product J J^T, within a memory budget.

    Nothing large happens before the first product, or :meth:`prepare`.

    Args:
        suffix: the network, with every shortcut that holds.
        sizes: bytes it takes.
        vector_bytes: of one vector.
        memory_budget: bytes.
        exchange: cross terms with what is no part of the network, between the two passes.
        token_space: whether products may go by the inputs' inner products, past the weights.
        ranks: processes that the examples are split over; the suffix has this one's.

    Attributes:
        plan: chunks, and which of them keep their graph.
    """

    def __init__(
        self,
        suffix: Suffix,
        sizes: Sizes,
        *,
        vector_bytes: int,
        memory_budget: int,
        exchange: Exchange,
        token_space: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        self.suffix, self._sizes = suffix, sizes
        self._vector_bytes, self._budget, self._exchange = vector_bytes, memory_budget, exchange
        # inner products of the inputs are between the examples of one process
        self._token_space, self._ranks = token_space and ranks.count == 1, ranks
        self._chunks: list[Chunk] = []
        self._state = ModelState(suffix.model)
        self.n = len(suffix.task)
        self.device = suffix.task.inputs.device
        self.plan = self._make_plan()

    def prepare(self, progress: bool = False) -> None:
        """Run the forward pass, and keep what the plan keeps."""
        if self._chunks:
            return
        self._check_model()
        with fast_products(self.device):
            while not self._try_to_prepare(progress):
                self._shrink()

    def multiply(self, cotangents: Sequence[Float[Tensor, "n d"]]) -> list[Float[Tensor, "n d"]]:
        """J J^T times some vectors: all examples back, then all forward."""
        self._check_model()
        cross = pushed = None
        while pushed is None:
            gradients = self._in_memory(partial(self._pull_all, cotangents))
            # here, and only here, the gradients of several processes are added up
            for gradient in gradients:
                self._ranks.add_up(*gradient.values())
            cross = self._exchange(cotangents, gradients, self._ranks)
            push = partial(self._push_all, cotangents, gradients)
            # with a smaller plan, gradients of tokens are of no use: they are taken again
            pushed = self._try_to(push) if self._in_token_space else self._in_memory(push)
        return pushed if cross is None else [a + b for a, b in zip(cross, pushed, strict=True)]

    def multiply_apart(
        self, cotangents: Sequence[Float[Tensor, "n d"]]
    ) -> list[Float[Tensor, "n d"]]:
        """J J^T of every example by itself times some vectors: nothing adds up over examples."""
        self._check_model()
        results = [torch.zeros_like(v) for v in cotangents]
        try:
            for index in range(self.n):
                with matrix_products(self.suffix.precision, self.device):
                    self._multiply_one(slice(index, index + 1), cotangents, results)
        except torch.OutOfMemoryError as error:
            raise torch.OutOfMemoryError(TOO_LITTLE) from error
        return results

    def _multiply_one(
        self, rows: slice, cotangents: Sequence[Tensor], results: Sequence[Tensor]
    ) -> None:
        """One example's products, as many vectors at a time as the plan has room for."""
        chunk = self._prepare_chunk(rows, self.suffix.double_backward)
        for start in range(0, len(cotangents), self.plan.columns):
            part = cotangents[start : start + self.plan.columns]
            gradients = self._pull(chunk, part)
            self._exchange(part, gradients, ALONE)
            for result, change in zip(results[start:], self._push(chunk, gradients), strict=False):
                result[rows] = change

    def measure(self, vectors: Float[Tensor, "n d b"]) -> Timing:
        """Time the passes of a few examples, and scale them up."""
        sample = -(-_SAMPLE_TOKENS // self.suffix.task.length)
        rows = slice(0, min(self.plan.chunk, max(2, sample)))
        kept = min(self.n, self.plan.kept * self.plan.chunk)
        parts = [(kept, True), (self.n - kept, False)]
        timings = [
            self._measure_rows(rows, vectors, count, keep) for count, keep in parts if count > 0
        ]
        setup, one, several = (sum(parts) for parts in zip(*timings, strict=True))
        return Timing(setup, one, max(0.0, several - one) / (vectors.shape[2] - 1))

    def _measure_rows(
        self, rows: slice, vectors: Tensor, count: int, keep: bool
    ) -> tuple[float, float, float]:
        """Seconds of set-up, of one vector and of all, for ``count`` examples."""
        share = count / (rows.stop - rows.start)
        prepared: list[Chunk] = []
        setup = seconds(lambda: prepared.append(self._prepare_chunk(rows, keep)), self.device)
        with matrix_products(self.suffix.precision, self.device):
            one, several = (
                best_seconds(
                    lambda b=b: self._push(  # type: ignore[misc]
                        prepared[0], self._pull(prepared[0], vectors[:, :, :b].unbind(2))
                    ),
                    self.device,
                )
                for b in (1, vectors.shape[2])
            )
        return share * setup, share * one, share * several

    def _try_to_prepare(self, progress: bool) -> bool:
        """Whether the device had memory for it; what failed is let go of before the next try."""
        chunks: list[Chunk] = []
        with Progress("forward pass", self.n, progress) as bar:
            starts = range(0, self.n, self.plan.chunk)
            for index, start in enumerate(starts):
                rows = slice(start, min(start + self.plan.chunk, self.n))
                try:
                    chunks.append(self._prepare_chunk(rows, index < self.plan.kept))
                except torch.OutOfMemoryError:
                    return False
                bar.advance(rows.stop - rows.start)
        self._chunks = chunks
        if self._in_token_space:
            self._chunks = [chunks[0].in_token_space()]
        return True

    def _prepare_chunk(self, rows: slice, keep_graph: bool) -> Chunk:
        if keep_graph:
            return Chunk(rows, graph=self.suffix.graph(rows))
        return Chunk(rows, cache=self.suffix.record(rows) if self.plan.cached else None)

    def _make_plan(self, chunk: int | None = None, *, keep: bool = True) -> OperatorPlan:
        return plan_operator(
            self._sizes,
            n=self.n,
            length=self.suffix.task.length,
            vector_bytes=self._vector_bytes,
            memory_budget=self._budget,
            device=self.device,
            chunk=chunk,
            keep=keep and self.suffix.double_backward,
        )

    def _shrink(self) -> None:
        """After the device ran out of memory: half the examples at a time, no graph kept."""
        chunk = self.plan.chunk
        self._chunks = []
        if chunk == 1:
            raise torch.OutOfMemoryError(TOO_LITTLE)
        self.plan = self._make_plan(chunk // 2, keep=False)
        warn_user(
            f"the device ran out of memory with {chunk} examples at a time; going on with "
            f"{chunk // 2}, and without keeping their graphs.",
            RuntimeWarning,
        )

    def _check_model(self) -> None:
        if changed := self._state.difference():
            raise UserError(
                f"the model has changed since the operator was made ({changed}): make a new one."
            )

    @property
    def _in_token_space(self) -> bool:
        return self._token_space and len(self._chunks) == 1

    def _in_memory(self, passes: Callable[[], T]) -> T:
        """What some passes give, with as small a plan as the device's memory makes necessary."""
        while True:
            found = self._try_to(passes)
            if found is not None:
                return found

    def _try_to(self, passes: Callable[[], T]) -> T | None:
        """What some passes give; after the device ran out of memory None, with a smaller plan."""
        self.prepare()
        try:
            with matrix_products(self.suffix.precision, self.device):
                return passes()
        except torch.OutOfMemoryError:
            pass  # what failed is let go of first
        self._shrink()
        return None

    def _pull_all(self, cotangents: Sequence[Float[Tensor, "n d"]]) -> list[Gradients]:
        gradients: list[Gradients] = [{} for _ in cotangents]
        for chunk in self._chunks:
            for total, part in zip(gradients, self._pull(chunk, cotangents), strict=True):
                add_to(total, part)
        return gradients

    def _push_all(
        self, cotangents: Sequence[Float[Tensor, "n d"]], gradients: Sequence[Gradients]
    ) -> list[Float[Tensor, "n d"]]:
        results = [torch.empty_like(v) for v in cotangents]
        for chunk in self._chunks:
            for result, change in zip(results, self._push(chunk, gradients), strict=True):
                result[chunk.rows] = change
        self._check_products(cotangents, results)
        return results

    def _check_products(self, cotangents: Sequence[Tensor], results: Sequence[Tensor]) -> None:
        """Refuse products that are not finite, of vectors that are."""
        every = slice(0, self.n)
        for cotangent, result in zip(cotangents, results, strict=True):
            if bool(torch.isfinite(cotangent).all()):
                check_finite(result, self.suffix.task, every, "a product with the kernel")

    def _pull(self, chunk: Chunk, cotangents: Sequence[Tensor]) -> list[Gradients]:
        graph = chunk.graph or self.suffix.graph(chunk.rows, chunk.cache, push=False)
        return [graph.pull(cotangent[chunk.rows]) for cotangent in cotangents]

    def _push(self, chunk: Chunk, gradients: Sequence[Gradients]) -> list[Tensor]:
        suffix, graph = self.suffix, chunk.graph
        # a pass forward costs a forward pass each; one graph for them all pays from three on
        if graph is None and (len(gradients) > 2 or not suffix.forward_mode):
            graph = suffix.graph(chunk.rows, chunk.cache) if suffix.double_backward else None
        if graph is not None:
            return [graph.push(change) for change in gradients]
        return [suffix.push(chunk.rows, chunk.cache, change) for change in gradients]
