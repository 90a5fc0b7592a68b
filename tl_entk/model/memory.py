"""The memory that a computation is planned for."""

from __future__ import annotations

from collections.abc import Callable

import torch

from feature_sets.errors import UserError
from feature_sets.warn import warn_user
from tl_entk.tools.values import is_integer

_DEFAULT_BUDGET = 4 * 2**30
TOO_LITTLE = (
    "the device has too little memory for a single example: fewer components or shorter windows "
    "may fit."
)


def check_memory_budget(memory_budget: int | None) -> int:
    """Bytes that a computation is planned for; 4 GiB where nothing was asked for.

    Raises:
        UserError: for no integer, or less than 1 MiB.

    Example:
        >>> check_memory_budget(None) == 4 * 2**30
        True
    """
    if memory_budget is None:
        return _DEFAULT_BUDGET
    if not is_integer(memory_budget):
        raise UserError(
            f"memory_budget = {memory_budget!r}: pass bytes as an integer, 2 * 2**30 for 2 GiB."
        )
    if memory_budget < 2**20:
        raise UserError(
            f"memory_budget = {memory_budget} bytes is less than 1 MiB: pass bytes, for example "
            "2 * 2**30 for 2 GiB."
        )
    return memory_budget


def examples_per_pass(n: int, floats: int, itemsize: int, memory_budget: int) -> int:
    """Examples in one forward pass: its graph may take a quarter of the budget.

    Args:
        n: examples there are.
        floats: numbers that autograd keeps for one of them.
        itemsize: bytes of a number.
        memory_budget: bytes.

    Example:
        >>> examples_per_pass(100, floats=1000, itemsize=4, memory_budget=2**20)
        65
    """
    return max(1, min(n, memory_budget // 4 // (floats * itemsize)))


def run_in_batches(n: int, size: int, work: Callable[[slice], None]) -> None:
    """Work on n examples, ``size`` at a time, and fewer where the device runs out of memory.

    Args:
        n: examples.
        size: of a batch.
        work: takes a batch's rows; leaves nothing behind where it fails.

    Raises:
        torch.OutOfMemoryError: if a single example does not fit.

    Warns:
        RuntimeWarning: says what is gone on with.

    Example:
        >>> run_in_batches(5, 2, print)
        slice(0, 2, None)
        slice(2, 4, None)
        slice(4, 5, None)
    """
    start = 0
    while start < n:
        rows = slice(start, min(start + size, n))
        if _fits(work, rows):
            start = rows.stop
            continue
        # what failed is let go of by now
        size = rows.stop - rows.start
        if size == 1:
            raise torch.OutOfMemoryError(TOO_LITTLE)
        warn_user(
            f"the device ran out of memory with {size} examples at a time; going on with "
            f"{size // 2}.",
            RuntimeWarning,
        )
        size //= 2


def _fits(work: Callable[[slice], None], rows: slice) -> bool:
    try:
        work(rows)
    except torch.OutOfMemoryError:
        return False
    return True
