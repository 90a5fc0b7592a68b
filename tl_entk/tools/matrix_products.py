"""Which library multiplies float32 matrices: measured, since the default is slow on some CPUs.

PyTorch's switch for reduced precision decides as well which library multiplies on a CPU. With
"medium" it is oneDNN, which computes in full float32 where the CPU has no faster format that the
switch allows, and takes half the time of the default there on processors that the default library
was not written for. Where "medium" rounds to bfloat16, the error shows it, and it is not taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial

import torch

from tl_entk.tools.timing import best_seconds

# (batch, rows, inner, columns), as of the pieces of a network's pass: the first one is timed
_SHAPES = ((1, 1024, 640, 640), (1, 64, 2048, 64), (1, 640, 4096, 256), (8, 64, 64, 128))
# relative error of float32 products is some 5e-7, of TF32 3e-4, of bfloat16 2e-3
_MOST_ERROR = 1e-5
_GAIN = 1.1


@dataclass(frozen=True)
class Products:
    """How float32 matrices are multiplied on a CPU.

    Attributes:
        mode: for :func:`torch.set_float32_matmul_precision`.
        gain: times as fast as by default.
        error: relative, of "medium".
    """

    mode: str
    gain: float
    error: float

    def __str__(self) -> str:
        if self.mode == "highest":
            return "matrix products as PyTorch sets them"
        return f"matrix products by oneDNN, {self.gain:.1f} times as fast, in full float32"


@lru_cache(maxsize=1)
def measure_products() -> Products:
    """What is fastest on this CPU among what has the accuracy of float32; once in a process.

    Example:
        >>> products = measure_products()
        >>> products.mode in ("highest", "medium"), products.gain >= 1
        (True, True)
    """
    generator = torch.Generator().manual_seed(0)
    pairs = [
        (
            torch.randn(batch, rows, inner, generator=generator),
            torch.randn(batch, inner, columns, generator=generator),
        )
        for batch, rows, inner, columns in _SHAPES
    ]
    taken, errors = {}, {}
    for mode in ("highest", "medium"):
        with _set(mode):
            errors[mode] = max(_error(left, right) for left, right in pairs)
            left, right = pairs[0][0][0], pairs[0][1][0]
            taken[mode] = best_seconds(partial(torch.matmul, left, right), left.device)
    return choose_products(taken["highest"], taken["medium"], errors["medium"])


def choose_products(highest: float, medium: float, error: float) -> Products:
    """The default unless the other is faster and as accurate.

    Args:
        highest: seconds of a product by default.
        medium: seconds of the same product with "medium".
        error: relative, of "medium".

    Example:
        >>> choose_products(2.0, 1.0, 5e-7).mode, choose_products(2.0, 0.4, 2e-3).mode
        ('medium', 'highest')
    """
    gain = highest / medium
    if gain > _GAIN and error < _MOST_ERROR:
        return Products("medium", gain, error)
    return Products("highest", 1.0, error)


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Around work with many matrix products: by what is fastest, in full float32.

    What the user has set stays, and so does what computes away from the CPU.

    Args:
        device: where it computes.
    """
    if device.type != "cpu" or torch.get_float32_matmul_precision() != "highest":
        yield
        return
    with _set(measure_products().mode):
        yield


@contextmanager
def _set(mode: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(mode)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _error(left: torch.Tensor, right: torch.Tensor) -> float:
    exact = left.double() @ right.double()
    return float((left @ right - exact).norm() / exact.norm())
