"""Sparse features of toy models of superposition, and as vectors over examples and outputs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.values import check_at_least, check_kind, is_integer


def sparse_features(
    n: int, features: int, sparsity: float, generator: torch.Generator
) -> Float[Tensor, "n features"]:
    """Random sparse feature values: each 0 with probability S, else uniform in [0, 1].

    Every example is then scaled to norm 1 (one with no feature at all stays zero).

    Args:
        n: examples.
        features: how many features.
        sparsity: S, from 0 to below 1.
        generator: what draws them.

    Raises:
        UserError: if S is not in [0, 1), or there are no examples or features.

    Source: arXiv 2510.00468, section 3 (toy models of superposition) and its author's code.

    Example:
        >>> x = sparse_features(4, 3, 0.2, torch.Generator().manual_seed(0))
        >>> x.shape, bool(((x.norm(dim=1) - 1).abs() < 1e-6).all())
        (torch.Size([4, 3]), True)
    """
    check_drawing(n, features, sparsity, generator)
    values = torch.rand(n, features, generator=generator)
    present = torch.rand(n, features, generator=generator) >= sparsity
    return torch.nn.functional.normalize(values * present, dim=1)


def check_drawing(n: int, features: int, sparsity: float, generator: torch.Generator) -> None:
    """Refuse what no feature values can be drawn with.

    Raises:
        UserError: names the argument.

    Example:
        >>> check_drawing(4, 3, 0.2, torch.Generator())
    """
    check_at_least("n", n)
    check_at_least("features", features)
    number = isinstance(sparsity, float) or is_integer(sparsity)
    if not number or not 0 <= sparsity < 1:
        raise UserError(f"sparsity = {sparsity!r}: pass a probability of zero from 0 to below 1.")
    check_kind("generator", generator, torch.Generator, "a torch.Generator")


def superposition(x: Float[Tensor, "n c"]) -> Float[Tensor, "n c c"]:
    """The features as vectors over all examples and outputs: column i is x_i at output i.

    A flattened kernel of N examples and C outputs has N C rows; feature i lives in those of output
    i alone: F[n, c, i] = x_ni if c = i, else 0, and every column has norm 1.

    Args:
        x: (N, C) feature values.

    Returns:
        (N, C, C); ``.flatten(0, 1)`` has one row per example and output.

    Raises:
        UserError: if they are no finite matrix, or a feature is zero in every example.

    Source: arXiv 2510.00468, section 3.

    Example:
        >>> superposition(torch.tensor([[3.0, 1.0], [4.0, 0.0]]))[:, :, 0].tolist()
        [[0.6000000238418579, 0.0], [0.800000011920929, 0.0]]
    """
    check_kind("x", x, torch.Tensor, "a tensor (N, C)")
    if x.ndim != 2 or not bool(torch.isfinite(x).all()):
        raise UserError(f"x has shape {tuple(x.shape)}, or is not finite: pass numbers (N, C).")
    norms = x.norm(dim=0)
    if bool((norms == 0).any()):
        missing = int((norms == 0).nonzero()[0])
        raise UserError(
            f"feature {missing} is zero in every example: take more examples or less sparse ones."
        )
    return torch.diag_embed(x / norms)
