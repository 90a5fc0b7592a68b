"""Which tokens go along with scores: covariances of any directions' scores with the logits."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_entk.model.last_logits import last_logits
from tl_entk.tools.values import check_at_least


def score_covariances(
    model: Any, tokens: Int[Tensor, "n t"], scores: Float[Tensor, "n k"], *, batch_size: int = 64
) -> Float[Tensor, "d_vocab k"]:
    """How each token's logit goes along with the scores of any directions.

    The covariance of scores and logits over the examples, columns of norm 1.

    Args:
        model: whose logits at the last position.
        tokens: (n, t).
        scores: (n, k).
        batch_size: examples per forward pass.

    Raises:
        UserError: for what is no number of examples.
    """
    check_at_least("batch_size", batch_size)
    centered = scores.cpu().double() - scores.cpu().double().mean(0)
    total: Tensor | None = None
    for rows in torch.arange(len(tokens)).split(batch_size):
        part = last_logits(model, tokens[rows]).cpu().double().T @ centered[rows]
        total = part if total is None else total + part
    assert total is not None
    return unit_columns(total)


def unit_columns(columns: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """Columns of norm 1; those of zeros stay."""
    return columns / columns.norm(dim=0).clamp_min(torch.finfo(columns.dtype).tiny)
