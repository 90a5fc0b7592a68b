"""What two results of one computation may differ by, in the number format they came in."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

# in half precision, of a computation whose sums are taken in another order
_HALF = 5e-2


def relative_rounding(dtype: torch.dtype, least: float = 1e-3) -> float:
    """Relative difference that rounding explains: ``least``, or more in half precision.

    Example:
        >>> relative_rounding(torch.float32), relative_rounding(torch.bfloat16)
        (0.001, 0.05)
    """
    return least if dtype.itemsize >= 4 else _HALF


def same_rows(found: Float[Tensor, "n c"], expected: Float[Tensor, "n c"]) -> bool:
    """Whether two results are one but for rounding; what is not finite is not compared.

    Example:
        >>> ones = torch.ones(1, 2)
        >>> same_rows(ones, ones + 1e-5), same_rows(ones, 2 * ones)
        (True, False)
    """
    if found.shape != expected.shape:
        return False
    tolerance = relative_rounding(expected.dtype)
    size = float(expected.detach().abs().max()) if expected.numel() else 0.0
    if not math.isfinite(size):
        return True
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance * size)


def relative_distance(found: Tensor, expected: Tensor) -> float:
    """||found - expected|| / ||expected||; infinite for another shape.

    Example:
        >>> relative_distance(torch.tensor([3.0]), torch.tensor([2.0]))
        0.5
    """
    if found.shape != expected.shape:
        return float("inf")
    size = float(expected.double().norm())
    return float((found.double() - expected.double()).norm()) / (size if size > 0 else 1.0)
