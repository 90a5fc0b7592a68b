"""Normalizations of a kernel: options to compare, never silent defaults."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.kernel.normalizations import check_normalization
from tl_entk.tools.arrays import Matrix, to_kernel


def normalize(kernel: Float[Tensor, "n n"], normalization: str) -> Float[Tensor, "n n"]:
    """The kernel after one of ``NORMALIZATIONS``.

    Args:
        kernel: (N, N).
        normalization: its name.

    Raises:
        UserError: as ``check_normalization`` and ``cosine_normalize``.

    Example:
        >>> import torch
        >>> normalize(torch.tensor([[4.0, 2.0], [2.0, 1.0]]), "cosine+centered").abs().max().item()
        0.0
    """
    wanted = check_normalization(normalization)
    kernel = cosine_normalize(kernel) if wanted.cosine else kernel
    return center(kernel) if wanted.centered else kernel


def cosine_normalize(kernel: Matrix) -> Float[Tensor, "n n"]:
    """Cosines of the per-example gradients, K_nm / sqrt(K_nn K_mm).

    Args:
        kernel: (N, N) positive semidefinite, a tensor or a numpy array.

    Raises:
        UserError: if it is no kernel, or an example has no gradient, so that its cosine is
            undefined.

    Example:
        >>> import torch
        >>> cosine_normalize(torch.tensor([[4.0, 2.0], [2.0, 1.0]])).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    checked = to_kernel(kernel)
    norms = norms_of(checked.diagonal())
    return checked / norms[:, None] / norms


def norms_of(diagonal: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Norms of the examples' gradients, from a kernel's diagonal.

    Raises:
        UserError: if an example has no gradient.

    Example:
        >>> import torch
        >>> norms_of(torch.tensor([4.0, 9.0])).tolist()
        [2.0, 3.0]
    """
    norms = diagonal.clamp_min(0).sqrt()
    if bool((norms == 0).any()):
        row = int((norms == 0).nonzero()[0])
        raise UserError(f"example {row} has a zero gradient: leave it out to normalize.")
    return norms


def center(kernel: Matrix) -> Float[Tensor, "n n"]:
    """Kernel of the centered gradients, H K H with H = 1 - 11^T / N (as PCA centers).

    Args:
        kernel: (N, N), a tensor or a numpy array.

    Raises:
        UserError: if it is no kernel.

    Example:
        >>> import torch
        >>> center(torch.ones(3, 3)).abs().max().item()
        0.0
    """
    checked = to_kernel(kernel)
    # what is taken away may be far larger than what is left, and so would its rounding be
    wide = checked.double()
    centered = wide - wide.mean(0) - wide.mean(1, keepdim=True) + wide.mean()
    return centered.to(checked.dtype)
