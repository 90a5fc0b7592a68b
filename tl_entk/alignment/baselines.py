"""Baselines made of given activations: their principal components, and random directions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from sklearn import decomposition
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from feature_sets.errors import UserError

# least size of a component over the first that is more than rounding (of float32 states)
_RANK = 1e-6
PCA, STANDARDIZED, RANDOM = "PCA", "standardized PCA", "random"


def pca_scores(
    activations: Float[Tensor, "n d"], k: int, *, standardize: bool = False
) -> Float[Tensor, "n k"]:
    """Scores of the top k principal components of the centered activations (scikit-learn).

    Args:
        activations: (n, d).
        k: components.
        standardize: divide every activation by its standard deviation over the examples first.
            A few activations of large language models are so much larger than the others that
            plain PCA sees nothing else.

    Raises:
        UserError: if k is larger than the number of components there are.

    Example:
        >>> pca_scores(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.1]]), 1).shape
        torch.Size([3, 1])
    """
    n, d = activations.shape
    if not 1 <= k <= min(n, d):
        raise UserError(f"k = {k}: {n} examples of width {d} have 1 to {min(n, d)} components.")
    values = activations.detach().cpu().double().numpy()
    if standardize:
        values = StandardScaler().fit_transform(values)
    return torch.from_numpy(decomposition.PCA(k, svd_solver="full").fit_transform(values))


def leading_scores(
    states: Float[Tensor, "n m"], k: int, *, standardize: bool = False
) -> Float[Tensor, "n j"]:
    """Scores on up to k principal components, as many as there are.

    Components of rounding alone, where states repeat, are left out: as directions they are random.
    """
    if bool((states == states[:1]).all()):
        return torch.zeros(len(states), 1, dtype=torch.float64)
    scores = pca_scores(states, min(k, *states.shape), standardize=standardize)
    sizes = scores.norm(dim=0)
    return scores[:, : max(1, int((sizes > _RANK * sizes[0]).sum()))]


def random_directions(n: int, k: int, seed: int = 0) -> Float[Tensor, "n k"]:
    """K orthonormal random directions over n examples: the floor.

    Raises:
        UserError: if k > n.

    Example:
        >>> random_directions(5, 2).shape
        torch.Size([5, 2])
    """
    if not 1 <= k <= n:
        raise UserError(f"k = {k}: pass 1 to {n} directions over {n} examples.")
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(n, k, generator=generator, dtype=torch.float64))
    return basis
