"""Wall time: measuring it, and saying it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall-clock time of some work, with what it started on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def best_seconds(work: Callable[[], object], device: torch.device) -> float:
    """The better of two calls after a first, which sets up libraries."""
    work()
    return min(seconds(work, device) for _ in range(2))


def duration(seconds: float) -> str:
    """Seconds as a person would say it.

    Example:
        >>> duration(0.0042), duration(7.25), duration(754.0), duration(7260.0)
        ('4.2 ms', '7.2 s', '12 min 34 s', '2 h 1 min')
    """
    if seconds < 1:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
