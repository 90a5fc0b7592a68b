"""Normalisations of a kernel: options to compare, never silent defaults."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Normalisation(NamedTuple):
    """What is done to a kernel: first cosines, then centring."""

    cosine: bool
    centred: bool


NORMALISATIONS = {
    "plain": Normalisation(cosine=False, centred=False),
    "centred": Normalisation(cosine=False, centred=True),
    "cosine": Normalisation(cosine=True, centred=False),
    "cosine, centred": Normalisation(cosine=True, centred=True),
}


def check_normalisation(name: str) -> Normalisation:
    """The normalisation of this name.

    Raises:
        ValueError: for one that there is not.

    Example:
        >>> check_normalisation("centred")
        Normalisation(cosine=False, centred=True)
    """
    if name not in NORMALISATIONS:
        raise ValueError(f"no normalisation {name!r}: there are {list(NORMALISATIONS)}.")
    return NORMALISATIONS[name]


def normalize(kernel: Float[Tensor, "n n"], normalisation: str) -> Float[Tensor, "n n"]:
    """The kernel after one of ``NORMALISATIONS``.

    Args:
        kernel: (N, N).
        normalisation: its name.

    Raises:
        ValueError: as ``check_normalisation`` and ``cosine_normalize``.

    Example:
        >>> import torch
        >>> normalize(torch.tensor([[4.0, 2.0], [2.0, 1.0]]), "cosine, centred").abs().max().item()
        0.0
    """
    wanted = check_normalisation(normalisation)
    kernel = cosine_normalize(kernel) if wanted.cosine else kernel
    return center(kernel) if wanted.centred else kernel


def cosine_normalize(kernel: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Cosines of the per-example gradients, K_nm / sqrt(K_nn K_mm).

    Args:
        kernel: (N, N) positive semidefinite.

    Raises:
        ValueError: if an example has no gradient, so that its cosine is undefined.

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
        ValueError: if an example has no gradient.

    Example:
        >>> import torch
        >>> norms_of(torch.tensor([4.0, 9.0])).tolist()
        [2.0, 3.0]
    """
    norms = diagonal.clamp_min(0).sqrt()
    if bool((norms == 0).any()):
        row = int((norms == 0).nonzero()[0])
        raise ValueError(f"example {row} has a zero gradient: leave it out to normalise.")
    return norms


def center(kernel: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Kernel of the centred gradients, H K H with H = 1 - 11^T / N (as PCA centres).

    Args:
        kernel: (N, N).

    Example:
        >>> import torch
        >>> center(torch.ones(3, 3)).abs().max().item()
        0.0
    """
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
