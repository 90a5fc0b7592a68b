"""One signed number per example of a direction, and the sign that a direction comes with."""

from __future__ import annotations

import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor


def choose_signs(columns: Float[Tensor, "n k"]) -> Float[Tensor, " k"]:
    """Factors of 1 or -1 that make the entry of largest size of every column positive.

    An eigenvector is known up to its sign; everything here that returns directions chooses it so.

    Args:
        columns: (N, k) directions, or their scores.

    Example:
        >>> columns = torch.tensor([[-2.0, 3.0], [1.0, -1.0]])
        >>> (columns * choose_signs(columns)).tolist()
        [[2.0, 3.0], [-1.0, -1.0]]
    """
    largest = columns.gather(0, columns.abs().argmax(0, keepdim=True))[0]
    return torch.ones_like(largest).where(largest >= 0, -1)


def rank_one_scores(
    vectors: Float[Tensor, "n d k"],
) -> tuple[Float[Tensor, "n k"], Float[Tensor, " k"]]:
    """Leading left singular vector times singular value of every N x d vector, and the latter.

    Args:
        vectors: (N, d, k) unit vectors.

    Returns:
        (N, k) scores, of any sign, and (k,) shares of the vectors' norm that they hold.
    """
    n, d, k = vectors.shape
    scores = torch.zeros(n, k, dtype=torch.float64)
    for j in range(k):
        matrix = vectors[:, :, j].double().numpy()
        if n <= d:
            value, left = scipy.linalg.eigh(matrix @ matrix.T, subset_by_index=[n - 1, n - 1])
            scores[:, j] = torch.from_numpy(left[:, 0] * value[0].clip(0) ** 0.5)
        else:
            right = scipy.linalg.eigh(matrix.T @ matrix, subset_by_index=[d - 1, d - 1])[1]
            scores[:, j] = torch.from_numpy(matrix @ right[:, 0])
    return scores, scores.norm(dim=0)


def score_vectors(
    vectors: Float[Tensor, "n d k"],
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n *d k"], Float[Tensor, " k"]]:
    """Scores of eigenvectors, the vectors with the same signs, and the scores' shares.

    Args:
        vectors: (N, d, k) unit vectors of any sign.

    Returns:
        (N, k) scores whose entry of largest size is positive; (N, d, k) vectors, (N, k) where
        d = 1; (k,) shares.
    """
    scores, share = rank_one_scores(vectors)
    signs = choose_signs(scores)
    vectors = vectors * signs.to(vectors.dtype)
    return scores * signs, vectors if vectors.shape[1] > 1 else vectors[:, 0], share
