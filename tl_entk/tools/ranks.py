"""Examples split over the processes of torch.distributed: who has which, and what adds up.

Every process runs the same calls on the same arguments, has the whole model, and computes with its
own share of the examples. What crosses between processes goes through this file alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.distributed import ProcessGroup

from feature_sets.errors import UserError
from tl_entk.tools.errors import first_line

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """Some processes, and which of them this one is.

    Attributes:
        count: how many.
        rank: of this one, from 0.
        group: of torch.distributed; None for a process by itself.
    """

    count: int = 1
    rank: int = 0
    group: ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and prints."""
        return self.rank == 0

    def share(self, n: int, rank: int | None = None) -> slice:
        """The examples of a process: as many as the others', or one more.

        Args:
            n: examples in all.
            rank: the process; this one by default.

        Example:
            >>> [Ranks(3, rank).share(8) for rank in range(3)]
            [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        """
        rank = self.rank if rank is None else rank
        least, more = divmod(n, self.count)
        start = rank * least + min(rank, more)
        return slice(start, start + least + (rank < more))

    def check_examples(self, n: int) -> None:
        """Refuse fewer examples than processes.

        Raises:
            UserError: says how many would do.
        """
        if n < self.count:
            raise UserError(
                f"{n} examples for {self.count} processes: start at most {n}, so that each has one."
            )

    def add_up(self, *tensors: Tensor) -> None:
        """Sum every tensor over the processes, in place."""
        if self.group is not None:
            with _one_clear_error():
                for tensor in tensors:
                    dense = tensor.contiguous()
                    dist.all_reduce(dense, group=self.group)
                    if dense is not tensor:
                        tensor.copy_(dense)

    def largest(self, value: float) -> float:
        """The largest of every process's number."""
        if self.group is None:
            return value
        found = torch.tensor(value, dtype=torch.float64, device=_device(self.group))
        with _one_clear_error():
            dist.all_reduce(found, dist.ReduceOp.MAX, group=self.group)
        return float(found)

    def join(self, part: Shaped[Tensor, " ..."], n: int, dim: int = 0) -> Shaped[Tensor, " ..."]:
        """All examples on every process, from every one's share.

        Args:
            part: whose axis ``dim`` is this process's examples.
            n: examples in all.
            dim: their axis.
        """
        if self.group is None:
            return part
        rows = self._filled_up(part.movedim(dim, 0), n)
        found = [torch.empty_like(rows) for _ in range(self.count)]
        with _one_clear_error():
            dist.all_gather(found, rows, group=self.group)
        return self._together(found, n).movedim(0, dim)

    def gather(self, part: Shaped[Tensor, "n ..."], n: int) -> Shaped[Tensor, "m ..."] | None:
        """All examples on the first process, from every one's share; None on the others.

        Args:
            part: this process's examples.
            n: examples in all.
        """
        if self.group is None:
            return part
        rows = self._filled_up(part, n)
        found = [torch.empty_like(rows) for _ in range(self.count)] if self.first else None
        with _one_clear_error():
            dist.gather(rows, found, group=self.group, group_dst=0)
        return None if found is None else self._together(found, n)

    def gather_values(self, value: T) -> list[T] | None:
        """Every process's value on the first, in their order; None on the others.

        Args:
            value: whatever can be pickled.
        """
        if self.group is None:
            return [value]
        found: list[Any] | None = [None] * self.count if self.first else None
        with _one_clear_error():
            dist.gather_object(value, found, group=self.group, group_dst=0)
        return found

    def _filled_up(self, part: Tensor, n: int) -> Tensor:
        """As many examples as the first process has, the most: what is sent is of one size."""
        more = self.share(n, 0).stop - len(part)
        return torch.cat([part, part.new_zeros(more, *part.shape[1:])]).contiguous()

    def _together(self, parts: list[Tensor], n: int) -> Tensor:
        shares = [self.share(n, rank) for rank in range(self.count)]
        return torch.cat([p[: s.stop - s.start] for p, s in zip(parts, shares, strict=True)])

    def from_first(self, value: T) -> T:
        """The first process's value, everywhere: a number, a text, whatever can be pickled."""
        if self.group is None:
            return value
        box: list[Any] = [value if self.first else None]
        with _one_clear_error():
            dist.broadcast_object_list(box, group=self.group, group_src=0)
        return box[0]


ALONE = Ranks()
_current: ContextVar[Ranks] = ContextVar("ranks", default=ALONE)


def current_ranks() -> Ranks:
    """The processes that examples are split over: one outside of :func:`split_over_ranks`."""
    return _current.get()


@contextmanager
def split_over_ranks(group: ProcessGroup | None = None) -> Iterator[Ranks]:
    """Inside, examples are split over the processes of torch.distributed.

    Every process makes the same calls with the same arguments, and gets the same result:
    ``kernel_blocks``, ``kernel_operator``, ``top_eigendirections``, ``leading_eigenpairs``,
    ``all_eigendirections``. Gradients of the weights' size are added up once for every product,
    and the solver's basis is split like the examples. The first process alone writes files.

    Args:
        group: the processes; all of them by default. Without torch.distributed (a script that
            ``torchrun`` did not start) nothing is split.

    Example:
        >>> with split_over_ranks() as ranks:  # not started by torchrun
        ...     ranks.count
        1
    """
    if not (dist.is_available() and dist.is_initialized()):
        yield ALONE
        return
    group = dist.group.WORLD if group is None else group
    ranks = Ranks(dist.get_world_size(group), dist.get_rank(group), group)
    token = _current.set(ranks if ranks.count > 1 else ALONE)
    try:
        yield _current.get()
    finally:
        _current.reset(token)


def _device(group: ProcessGroup) -> torch.device:
    """Where small numbers must lie to be sent."""
    return torch.device("cuda" if dist.get_backend(group) == "nccl" else "cpu")


@contextmanager
def _one_clear_error() -> Iterator[None]:
    """Inside, processes wait for each other: where that fails, another has ended.

    Raises:
        ConnectionError: says so.
    """
    try:
        yield
    except (RuntimeError, dist.DistBackendError) as error:
        raise ConnectionError(
            "another process of this run has ended or does not answer: its own message says why "
            f"(here: {first_line(error)}). Start the run again with the same command; what was "
            "saved is gone on with."
        ) from error
