"""What a direction of all logits is in the final hidden vector, and which tokens it raises."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.eigen import EigenDirections
from tl_entk.directions.token_scores import unit_columns
from tl_entk.model.adapters import adapt_transformer
from tl_entk.operator.whitening import Whitening, whitening


def final_directions(
    model: Any, eigen: EigenDirections, white: Whitening | None = None
) -> Float[Tensor, "d_model k"]:
    """Where each direction of a flattened kernel moves the final hidden vector.

    An eigenvector v of the whitened kernel is N x d. Its rank-1 part is the score of each example
    times one vector r of d numbers: a step along the direction moves the final hidden vectors of
    high-scoring examples along S^(-1/2) r, S = W_U W_U^T, and those of low-scoring ones the other
    way.

    Args:
        model: the one that the directions are of.
        eigen: in the space "final_hidden", as :func:`top_eigendirections` gives them by default.
        white: of the model's W_U, where it is at hand.

    Returns:
        (d_model, k) in float64, columns of norm 1.

    Raises:
        UserError: if the directions are in another space, which has no such coordinates.
    """
    if eigen.space != "final_hidden":
        raise UserError(
            "these directions have no number for every dimension of the final hidden vector: "
            'pass those of top_eigendirections(..., readout="final_hidden").'
        )
    if white is None:
        white = whitening(adapt_transformer(model).unembedding.cpu())
    vectors, scores = eigen.vectors.cpu().double(), eigen.scores.cpu().double()
    r = torch.einsum("ndk,nk->dk", vectors, scores)
    return unit_columns(white.inverse.cpu() @ white.root.cpu() @ r)


def logit_directions(
    model: Any, eigen: EigenDirections, white: Whitening | None = None
) -> Float[Tensor, "d_vocab k"]:
    """What each direction of a flattened kernel does to the logits of a high-scoring example.

    They go along W_U^T times :func:`final_directions`. As v and -v are one direction, the sign of a
    column says nothing: ``score_covariances`` says which tokens go up with the scores. Of a
    normalized kernel, every example's change is divided by its gradient's norm.

    Args:
        model: the one that the directions are of.
        eigen: in the space "final_hidden", as :func:`top_eigendirections` gives them by default.
        white: of the model's W_U, where it is at hand.

    Returns:
        (d_vocab, k), columns of norm 1.

    Raises:
        UserError: if the directions are in another space, which has no logit coordinates.

    Source: arXiv 2510.00468, section 5.
    """
    W_U = adapt_transformer(model).unembedding.cpu()
    # in the format of W_U: a copy of a large vocabulary in float64 would be gigabytes
    towards = final_directions(model, eigen, white).to(W_U.dtype)
    return unit_columns((W_U.T @ towards).double())
