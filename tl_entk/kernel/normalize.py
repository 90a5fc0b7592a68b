"""Normalizations of a kernel: options to compare, never silent defaults."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError


class Normalization(NamedTuple):
    """What is done to a kernel: first cosines, then centering."""

    cosine: bool
    centered: bool


NORMALIZATIONS = {
    "plain": Normalization(cosine=False, centered=False),
    "centered": Normalization(cosine=False, centered=True),
    "cosine": Normalization(cosine=True, centered=False),
    "cosine+centered": Normalization(cosine=True, centered=True),
}


def check_normalization(name: str) -> Normalization:
    """The normalization of this name.

    Raises:
        UserError: for an unknown one; an old spelling is answered with the new one.

    Example:
        >>> check_normalization("centered")
        Normalization(cosine=False, centered=True)
    """
    if name in NORMALIZATIONS:
        return NORMALIZATIONS[name]
    if "centred" in name:
        raise UserError(
            f"normalization {name!r} is spelled otherwise now: 'centered' for 'centred', "
            "'cosine+centered' for 'cosine, centred'; on the command line commas separate several."
        )
    raise UserError(f"no normalization {name!r}: pass one of {', '.join(NORMALIZATIONS)}.")


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


def cosine_normalize(kernel: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Cosines of the per-example gradients, K_nm / sqrt(K_nn K_mm).

    Args:
        kernel: (N, N) positive semidefinite.

    Raises:
        UserError: if an example has no gradient, so that its cosine is undefined.

    Example:
        >>> import torch
        >>> cosine_normalize(torch.tensor([[4.0, 2.0], [2.0, 1.0]])).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    norms = norms_of(kernel.diagonal())
    return kernel / norms[:, None] / norms


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


def center(kernel: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Kernel of the centered gradients, H K H with H = 1 - 11^T / N (as PCA centers).

    Args:
        kernel: (N, N).

    Example:
        >>> import torch
        >>> center(torch.ones(3, 3)).abs().max().item()
        0.0
    """
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
