"""Whitening: the flattened logit kernel in the d numbers of the final hidden vector, not C logits.

Logits are z = U^T r with U = W_U (d x C), so their kernel is (U^T x I) K_r (U x I). With
S = U U^T its nonzero eigenvalues are those of S^1/2 K_r S^1/2, which is d/C the size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError

_COLUMNS = 2**15


@dataclass(frozen=True, eq=False)
class Whitening:
    """S^1/2, the pseudo-inverse of S, and the projector on the span of S.

    Attributes:
        root: (d, d) symmetric.
        inverse: (d, d) pseudo-inverse of S.
        span: (d, d) projector; the identity where d_vocab_out >= d_model and W_U has full rank.
    """

    root: Float[Tensor, "d d"]
    inverse: Float[Tensor, "d d"]
    span: Float[Tensor, "d d"]


def whitening(W_U: Float[Tensor, "d c"]) -> Whitening:
    """S^1/2 for S = W_U W_U^T, in float64.

    Args:
        W_U: (d_model, d_vocab_out).

    Example:
        >>> whitening(torch.diag(torch.tensor([2.0, 3.0]))).root.diagonal().tolist()
        [2.0, 3.0]
    """
    d = len(W_U)
    S = torch.zeros(d, d, dtype=torch.float64, device=W_U.device)
    for columns in W_U.detach().split(_COLUMNS, dim=1):
        wide = columns.double()
        S.addmm_(wide, wide.T)
    values, vectors = torch.linalg.eigh(S)
    if not bool(torch.isfinite(values).all()):
        raise UserError("the unembedding is not finite: look for infinities in W_U.")
    # relative to the largest, eigenvalues of S carry a rounding error of about d eps
    kept = values > d * torch.finfo(torch.float64).eps * values[-1]
    roots = values[kept].sqrt()
    basis = vectors[:, kept]

    def symmetric(diagonal: Tensor) -> Tensor:
        return (basis * diagonal) @ basis.T

    return Whitening(symmetric(roots), symmetric(1 / roots**2), symmetric(torch.ones_like(roots)))
