"""Examples a few at a time, and fewer where the device runs out of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from feature_sets.warn import warn_user

TOO_LITTLE = (
    "the device has too little memory for a single example: fewer components or shorter windows "
    "may fit."
)


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


@contextmanager
def refuse_if_full(what: str) -> Iterator[None]:
    """Inside, a device's memory must hold something of all examples.

    Args:
        what: it must hold, for the message.

    Raises:
        torch.OutOfMemoryError: says what would fit.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise torch.OutOfMemoryError(
            f"the device has too little memory for {what}: pass fewer examples or components."
        ) from error


def _fits(work: Callable[[slice], None], rows: slice) -> bool:
    try:
        work(rows)
    except torch.OutOfMemoryError:
        return False
    return True
