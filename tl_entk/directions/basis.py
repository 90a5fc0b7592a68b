"""Orthonormal bases of spans, by one rule of what counts as independent."""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor

# what was computed in float64 carries more than the rounding of its last digit; and in the coarsest
# formats a direction of a hundredth is still one
_LEAST, _MOST = 1e-9, 1e-2


def rounding_level(n: int, dtype: torch.dtype) -> float:
    """Size of the eigenvalues, over the first, that rounding alone gives an n x n kernel.

    max(sqrt(n) eps, 2.2e-16 n): errors of the entries by the rounding eps of the format that they
    were computed in are as random as those of sums, and the eigenvalues' own computation in float64
    adds its part. At most a hundredth. Measured: 0.02 sqrt(n) eps for the kernels of a norm, of
    rank 12, among 64 to 1024 examples; 0.7 sqrt(n) eps where they are centered.

    Args:
        n: examples.
        dtype: number format that the kernel was computed in.

    Example:
        >>> rounding_level(400, torch.float32), rounding_level(400, torch.bfloat16)
        (2.384185791015625e-06, 0.01)
    """
    eps, least = (torch.finfo(format).eps for format in (_format_of(dtype), torch.float64))
    return min(max(n**0.5 * eps, n * least), _MOST)


def kernel_rank(eigenvalues: Float[Tensor, " k"], n: int, dtype: torch.dtype) -> int:
    """How many of a kernel's largest eigenvalues are more than rounding.

    Args:
        eigenvalues: largest first.
        n: rows of the kernel.
        dtype: number format that it was computed in.

    Example:
        >>> kernel_rank(torch.tensor([1.0, 0.1, 1e-9]), 100, torch.float32)
        2
    """
    first = float(eigenvalues[0]) if len(eigenvalues) else 0.0
    return int((eigenvalues > rounding_level(n, dtype) * first).sum()) if first > 0 else 0


def _format_of(dtype: torch.dtype) -> torch.dtype:
    """The number format; integers are exact and count as float64."""
    return dtype if dtype.is_floating_point else torch.float64


def numerical_rank(
    singular_values: Float[Tensor, " m"], shape: tuple[int, ...], dtype: torch.dtype
) -> int:
    """Number of dimensions that a matrix spans beyond its rounding.

    Counted are singular values above max(1e-9, max(shape) eps) times the first, where eps is the
    rounding of the format that the values came in (1.2e-7 in float32); at most a hundredth is put
    down to rounding. Integers are exact and count as float64.

    Args:
        singular_values: largest first.
        shape: of the matrix.
        dtype: number format that the matrix came in.

    Example:
        >>> numerical_rank(torch.tensor([1.0, 0.1, 1e-7]), (10, 3), torch.float32)
        2
        >>> numerical_rank(torch.tensor([1.0, 0.1, 1e-7]), (10, 3), torch.float64)
        3
    """
    if singular_values.numel() == 0 or not float(singular_values[0]) > 0:
        return 0
    eps = torch.finfo(_format_of(dtype)).eps
    tolerance = min(max(_LEAST, max(shape) * eps), _MOST)
    return int((singular_values > tolerance * singular_values[0]).sum())


def orthonormal_basis(
    values: Num[Tensor, "n f"], dtype: torch.dtype | None = None
) -> Float[Tensor, "n r"]:
    """Orthonormal basis of the columns' span; dependent columns do not count.

    The left singular vectors of V = Q S R^T, as many as V's :func:`numerical_rank`.

    Args:
        values: (N, F) columns.
        dtype: number format that the values came in, where they were converted since.

    Returns:
        (N, rank) in float64 on the CPU.

    Example:
        >>> orthonormal_basis(torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0]])).shape
        torch.Size([3, 1])
    """
    left, singular, _ = torch.linalg.svd(values.detach().cpu().double(), full_matrices=False)
    rank = numerical_rank(singular, tuple(values.shape), values.dtype if dtype is None else dtype)
    return left[:, :rank]
