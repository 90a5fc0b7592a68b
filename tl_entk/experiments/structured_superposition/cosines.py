"""How well directions line up with the true features, on three grounds.

A direction is compared with feature i of values x_i over the examples

- by its scores: |correlation| of the direction's scores over the examples with x_i;
- in hidden space: |cos| of its vector there with w_i, the i-th column of W;
- over examples and outputs: |cos| of its N x n pattern with the expanded feature vector, which is
  x_i at output i and zero elsewhere, as in the paper. A direction that has scores only has the
  pattern scores x outputs' covariances with them, of rank one.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

from feature_sets.superposition import superposition
from tl_entk.alignment.overlap import abs_cosines


@dataclass(frozen=True, eq=False)
class States:
    """What a toy model computes on its samples, in float64.

    Attributes:
        x: (N, n) true features, the inputs.
        weight: (m, n) W.
        hidden: (N, m) W x.
        outputs: (N, n) ReLU(W^T W x + b).
    """

    x: Float[Tensor, "N n"]
    weight: Float[Tensor, "m n"]
    hidden: Float[Tensor, "N m"]
    outputs: Float[Tensor, "N n"]


@dataclass(frozen=True, eq=False)
class Alignment:
    """|cos| of k directions with n features, on each ground.

    Attributes:
        scores: (k, n) by scores over the examples.
        hidden: (k, n) in hidden space.
        expanded: (k, n) over examples and outputs.
    """

    scores: Float[Tensor, "k n"]
    hidden: Float[Tensor, "k n"]
    expanded: Float[Tensor, "k n"]


def align(
    states: States,
    scores: Float[Tensor, "N k"],
    *,
    hidden: Float[Tensor, "m k"] | None = None,
    patterns: Float[Tensor, "N n k"] | None = None,
) -> Alignment:
    """Compare directions with the true features on every ground.

    Directions whose scores are the same for every example are left out.

    Args:
        states: of the model.
        scores: (N, k) of the directions, not centered.
        hidden: (m, k) their vectors in hidden space; default the covariances of the hidden
            activations with the scores, which for principal and independent components of the
            hidden activations are their own vectors.
        patterns: (N, n, k) over examples and outputs; default of rank one.

    Example:
        >>> import torch
        >>> x = torch.eye(3).double()
        >>> found = align(States(x, x, x, x), x)
        >>> [round(value, 6) for value in found.scores.diagonal().tolist()]
        [1.0, 1.0, 1.0]
    """
    kept = _varying(scores)
    scores = scores[:, kept]
    centered = scores - scores.mean(0)
    vectors = states.hidden.T @ centered if hidden is None else hidden[:, kept]
    if patterns is None:
        loadings = normalize(states.outputs.T @ centered, dim=0)
        along = normalize(scores, dim=0).T @ normalize(states.x, dim=0)
        expanded = along * loadings.T
    else:
        flat = normalize(patterns[:, :, kept].flatten(0, 1), dim=0)
        expanded = flat.T @ superposition(states.x).flatten(0, 1)
    return Alignment(
        abs_cosines(centered, states.x),
        (normalize(vectors, dim=0).T @ normalize(states.weight, dim=0)).abs(),
        expanded.abs(),
    )


def _varying(scores: Float[Tensor, "N k"]) -> Bool[Tensor, " k"]:
    """Directions that tell examples apart: no dead output, no dead latent."""
    return (scores - scores.mean(0)).norm(dim=0) > 1e-9 * scores.norm(dim=0)


def best_cosines(cosines: Float[Tensor, "k n"]) -> Float[Tensor, " n"]:
    """For every feature the largest |cos| over the directions.

    Example:
        >>> import torch
        >>> best_cosines(torch.tensor([[0.9, 0.8], [0.1, 0.3]])).tolist()
        [0.8999999761581421, 0.800000011920929]
    """
    return cosines.amax(0)


def matched_cosines(cosines: Float[Tensor, "k n"]) -> Float[Tensor, " n"]:
    """For every feature the |cos| of its own direction, no direction having two features.

    Pairs are chosen to make the sum largest; a feature that is left without a direction has 0.

    Example:
        >>> import torch
        >>> matched_cosines(torch.tensor([[1.0, 0.75], [0.0, 0.25]])).tolist()
        [1.0, 0.25]
    """
    rows, columns = linear_sum_assignment(cosines.numpy(), maximize=True)
    found = cosines.new_zeros(cosines.shape[1])
    found[columns] = cosines[rows, columns]
    return found
