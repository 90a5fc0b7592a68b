"""How an operator's examples are split into chunks, and which chunks keep their graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from feature_sets.errors import UserError

# enough rows for a matrix product to run at full speed, and for the overhead of a pass to vanish
_TOKENS = 2048
_BYTES = 256 * 2**20
_COLUMNS = 64


@dataclass(frozen=True)
class Sizes:
    """Bytes, measured on a few examples: for one of them where nothing else is said.

    Attributes:
        kept: of a forward pass's graph with its backward pass, and of the sites' inputs.
        cache: of what a replay needs.
        gradient: of one gradient of the weights, whatever the examples.
    """

    kept: int
    cache: int
    gradient: int = 0


@dataclass(frozen=True)
class OperatorPlan:
    """Chunks of examples.

    Attributes:
        chunk: examples in a chunk.
        kept: the first so many chunks keep their graph.
        cached: whether the others keep what a replay needs (else they run from the start).
        columns: vectors in one sweep.
        memory: bytes that all of it is expected to take at its peak.
    """

    chunk: int
    kept: int
    cached: bool
    columns: int
    memory: int

    def keeps_all(self, n: int) -> bool:
        """Whether the graph of all n examples is kept, so that products run no forward pass."""
        return self.kept * self.chunk >= n


def plan_operator(
    sizes: Sizes,
    *,
    n: int,
    length: int,
    vector_bytes: int,
    memory_budget: int,
    device: torch.device,
    chunk: int | None = None,
    keep: bool = True,
) -> OperatorPlan:
    """Fit an operator into the budget.

    Args:
        sizes: bytes per example.
        n: examples.
        length: tokens of an example.
        vector_bytes: of one vector.
        memory_budget: bytes.
        device: where it runs; on a CPU larger chunks bring nothing.
        chunk: examples in a chunk, if that is settled.
        keep: whether graphs may be kept.

    Raises:
        UserError: if not even one example fits; says what would.
    """
    gradient_bytes = sizes.gradient
    room = memory_budget - 4 * vector_bytes - 2 * gradient_bytes
    one = max(sizes.kept, 1)
    if room < one:
        least = one + 4 * vector_bytes + 2 * gradient_bytes
        raise UserError(
            f"memory_budget = {memory_budget / 2**20:.0f} MiB is too small for one example "
            f"({one / 2**20:.0f} MiB), the gradient of the weights "
            f"({gradient_bytes / 2**20:.0f} MiB) and the vectors: pass "
            f"memory_budget={2 * least}, fewer components or shorter windows."
        )
    column_bytes = gradient_bytes + 4 * vector_bytes
    columns = max(1, min(_COLUMNS, room // 8 // column_bytes))
    room -= (columns - 1) * column_bytes
    if chunk is None:
        chunk = max(1, room // 4 // one)
        if device.type == "cpu":
            chunk = min(chunk, max(-(-_TOKENS // length), _BYTES // one))
        chunk = min(chunk, n)
    chunks = -(-n // chunk)
    working = chunk * one
    if keep and n * one <= room:
        return OperatorPlan(chunk, chunks, False, columns, memory_budget - room + n * one)
    rest = room - working - n * sizes.cache
    cached = rest >= 0
    kept = min(chunks, rest // max(1, chunk * (one - sizes.cache))) if keep and cached else 0
    held = kept * chunk * one + (n - kept * chunk) * sizes.cache if cached else 0
    return OperatorPlan(chunk, kept, cached, columns, memory_budget - room + working + held)


@contextmanager
def counting_bytes(model: nn.Module) -> Iterator[list[int]]:
    """Counts the bytes that autograd saves inside; parameters and buffers are not counted."""
    known = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    total = [0]

    def pack(tensor: Tensor) -> tuple[Tensor, bool]:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            known.add(storage.data_ptr())
            total[0] += storage.nbytes()
        return tensor.detach(), tensor.requires_grad  # a node must not hold its own output

    def unpack(packed: tuple[Tensor, bool]) -> Tensor:
        tensor, requires_grad = packed
        return tensor.detach().requires_grad_(requires_grad)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield total
