"""Baselines made of given states: principal components, product kernels, random directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from sklearn import decomposition
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import normalize

from feature_sets.errors import UserError
from tl_entk.directions.eigen import eigendecompose
from tl_entk.tools.arrays import Rows, to_matrix

# least size of a component over the first that is more than rounding (of float32 states)
_RANK = 1e-6


def pca_scores(activations: Rows, k: int, *, standardize: bool = False) -> Float[Tensor, "n k"]:
    """Scores of the top k principal components of the centered activations (scikit-learn).

    Args:
        activations: (n, d), or (n, t, d) of all positions, of which the last is taken; a tensor or
            a numpy array.
        k: components.
        standardize: divide every activation by its standard deviation over the examples first.
            A few activations of large language models are so much larger than the others that
            plain PCA sees nothing else.

    Raises:
        UserError: if k is larger than the number of components there are, or activations are
            something else, or not finite.

    Example:
        >>> pca_scores(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.1]]), 1).shape
        torch.Size([3, 1])
    """
    states = to_matrix(activations, "activations")
    n, d = states.shape
    if not 1 <= k <= min(n, d):
        raise UserError(f"k = {k}: {n} examples of width {d} have 1 to {min(n, d)} components.")
    values = states.cpu().double().numpy()
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


def product_scores(states: Sequence[Float[Tensor, "n _"]], k: int) -> Float[Tensor, "n j"]:
    """Scores on up to k leading eigenvectors of a product of cosine kernels, as many as there are.

    Examples are close where they are close in each of several states. The kernel of a weight is
    made like this of what the weight reads and of the gradient of what it writes; these need none.

    Args:
        states: each (n, m), of the same examples.
        k: directions.

    Example:
        >>> product_scores([torch.eye(3), torch.ones(3, 2)], 2).shape
        torch.Size([3, 2])
    """
    kernel = torch.stack([cosines(values) for values in states]).prod(0)
    eigen = eigendecompose(kernel, min(k, len(kernel)))
    sizes = eigen.eigenvalues.clamp_min(0).sqrt()
    return (eigen.scores * sizes)[:, : max(1, int((sizes > _RANK * sizes[0]).sum()))]


def cosines(states: Float[Tensor, "n m"], *, centered: bool = False) -> Float[Tensor, "n n"]:
    """Cosines of the examples' states, in float64.

    Args:
        states: (n, m).
        centered: take the mean over the examples out first.

    Example:
        >>> cosines(torch.tensor([[2.0, 0.0], [0.0, 3.0]])).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    values = states.detach().cpu().double()
    unit = normalize(values - values.mean(0) if centered else values, dim=1)
    return unit @ unit.T


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
