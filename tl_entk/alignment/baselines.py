"""Baselines made of given states: principal components, product kernels, random directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from sklearn import decomposition
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import normalize

from feature_sets.warn import warn_user
from tl_entk.alignment.probes import ROUNDING, varies
from tl_entk.directions.eigen import eigendecompose
from tl_entk.tools.arrays import Rows, to_matrix
from tl_entk.tools.values import check_between, check_seed


def pca_scores(activations: Rows, k: int, *, standardize: bool = False) -> Float[Tensor, "n j"]:
    """Scores of the top k principal components of the centered activations (scikit-learn).

    Components of rounding alone, where examples repeat or activations have a low rank, are left
    out: a probe would scale that noise to the variance of the others.

    Args:
        activations: (n, d), or (n, t, d) of all positions, of which the last is taken; a tensor or
            a numpy array.
        k: components, of which as many are returned as there are.
        standardize: divide every activation by its standard deviation over the examples first.
            A few activations of large language models are so much larger than the others that
            plain PCA sees nothing else.

    Raises:
        UserError: if k is larger than both sizes of the activations, or these are something else,
            all alike, or not finite.

    Warns:
        UserWarning: if there are fewer than k.

    Example:
        >>> pca_scores(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.1]]), 1).shape
        torch.Size([3, 1])
    """
    states = to_matrix(activations, "activations")
    n, d = states.shape
    check_between("k", k, min(n, d), f"{n} examples of width {d} have 1 to {min(n, d)} components")
    scores = leading_scores(states, k, standardize=standardize)
    found = scores.shape[1]
    if found < k:
        warn_user(
            f"k = {k}: the activations have {found} principal components, the {k - found} others "
            "are rounding and left out. Pass fewer, or examples that differ more."
        )
    return scores


def leading_scores(
    states: Float[Tensor, "n m"], k: int, *, standardize: bool = False
) -> Float[Tensor, "n j"]:
    """Scores on up to k principal components, as many as there are.

    Components of rounding alone, where states repeat, are left out: as directions they are random.
    States that are all alike have one, of zeros.
    """
    values = states.detach().cpu().double().numpy()
    differ = varies(values)
    if not differ.any():
        return torch.zeros(len(states), 1, dtype=torch.float64)
    if standardize:
        values = StandardScaler().fit_transform(values[:, differ])
    pca = decomposition.PCA(min(k, *values.shape), svd_solver="full")
    scores = torch.from_numpy(pca.fit_transform(values))
    sizes = scores.norm(dim=0)
    return scores[:, : max(1, int((sizes > ROUNDING * sizes[0]).sum()))]


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
    if not bool(kernel.any()):
        return torch.zeros(len(kernel), 1, dtype=torch.float64)
    eigen = eigendecompose(kernel, min(k, len(kernel)))
    sizes = eigen.eigenvalues.clamp_min(0).sqrt()
    return (eigen.scores * sizes)[:, : max(1, int((sizes > ROUNDING * sizes[0]).sum()))]


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
        UserError: if k > n, or for what is no seed.

    Example:
        >>> random_directions(5, 2).shape
        torch.Size([5, 2])
    """
    check_between("k", k, n, f"{n} examples have {n} directions")
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(n, k, generator=generator, dtype=torch.float64))
    return basis
