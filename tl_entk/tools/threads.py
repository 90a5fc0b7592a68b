"""How many threads to compute with: measured, since other processes may be using the cores.

Two processes with as many threads as there are cores wait for each other's at every matrix
product, and both take several times as long as with one thread each.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from functools import lru_cache

import torch
from threadpoolctl import threadpool_limits

# a product of some milliseconds: what the pieces of a network's pass are
_SIZE = 512
_REPEATS = 7
# fewer threads are taken unless more are faster by so much
_GAIN = 1.1
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# by how much more threads must be slower for something else to be the cause
_SLOWED = 1.5


@dataclass(frozen=True)
class Threads:
    """How many threads were chosen.

    Attributes:
        count: threads of one operation.
        cores: that this process may use.
        seconds: of a matrix product by number of threads; empty where nothing was measured.
    """

    count: int
    cores: int
    seconds: dict[int, float]

    def __str__(self) -> str:
        if not self.seconds:
            return f"{self.count} threads, as the environment says"
        plural = "thread" if self.count == 1 else "threads"
        text = f"{self.count} {plural} of {self.cores} cores"
        if self.count < self.cores:
            slower = self.seconds[max(self.seconds)] / self.seconds[self.count]
            text += (
                f": with more, products take {slower:.1f} times as long, since something else "
                "computes here"
                if slower > _SLOWED
                else ", since more are no faster"
            )
        return text


@lru_cache(maxsize=1)
def set_threads() -> Threads:
    """Measure once in a process, and set what is fastest, for torch and for numpy.

    Where the environment sets the number of threads, it stays as it is.

    Example:
        >>> before = torch.get_num_threads()
        >>> chosen = set_threads()
        >>> 1 <= chosen.count == torch.get_num_threads()
        True
        >>> torch.set_num_threads(before)
    """
    cores = usable_cores()
    if any(name in os.environ for name in _VARIABLES):
        return Threads(torch.get_num_threads(), cores, {})
    measured = {count: _measure(count) for count in candidates(cores)}
    chosen = choose(measured)
    torch.set_num_threads(chosen)
    threadpool_limits(chosen)
    return Threads(chosen, cores, measured)


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def candidates(cores: int) -> list[int]:
    """Numbers of threads that are tried.

    Example:
        >>> candidates(2), candidates(12)
        ([1, 2], [1, 2, 4, 8, 12])
    """
    return [*(2**i for i in range(cores.bit_length()) if 2**i < cores), cores]


def choose(seconds: dict[int, float]) -> int:
    """The fastest number of threads, or a smaller one that is nearly as fast.

    Args:
        seconds: of the same work, by number of threads.

    Example:
        >>> choose({1: 1.0, 2: 0.55, 4: 0.53}), choose({1: 1.0, 2: 3.0})
        (2, 1)
    """
    best = min(seconds.values())
    return min(count for count, taken in seconds.items() if taken <= _GAIN * best)


def _measure(count: int) -> float:
    """The middle time of a matrix product with so many threads."""
    matrix = torch.ones(_SIZE, _SIZE)
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        taken = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            matrix @ matrix
            taken.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return statistics.median(taken[1:])
