"""Alignment of directions with features: cosines, projections on groups, subspace overlap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.display import Shown, list_some
from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet, check_feature_set
from tl_entk.directions.basis import orthonormal_basis
from tl_entk.directions.eigen import EigenDirections, scores_of
from tl_entk.tools.arrays import Rows, to_matrix, to_tensor
from tl_entk.tools.values import check_known

Directions = EigenDirections | Rows
Features = FeatureSet | Rows


@dataclass(frozen=True, eq=False, repr=False)
class SubspaceOverlap(Shown):
    """Overlap of two subspaces.

    Attributes:
        overlap: ||Q_V^T Q_F||_F^2, between 0 and ``max_overlap``.
        singular_values: cosines of the principal angles, largest first.
        max_overlap: the smaller of the two dimensions.
    """

    overlap: float
    singular_values: Float[Tensor, " m"]
    max_overlap: int

    @property
    def share(self) -> float:
        """Overlap over its maximum."""
        return self.overlap / self.max_overlap

    def _lines(self) -> list[str]:
        return [
            f"SubspaceOverlap: {self.overlap:.3g} of {self.max_overlap} ({self.share:.0%})",
            f"cosines of the principal angles {list_some(self.singular_values)}",
        ]

    def to_pandas(self) -> Any:
        """A row per principal angle: angle (from 1), cosine, degrees."""
        import pandas as pd

        cosines = self.singular_values.detach().cpu().double().numpy()
        return pd.DataFrame(
            {
                "angle": np.arange(1, len(cosines) + 1),
                "cosine": cosines,
                "degrees": np.degrees(np.arccos(cosines.clip(-1, 1))),
            }
        )


def _feature_values(features: Features, n: int) -> Float[Tensor, "n f"]:
    """Centered feature values.

    Raises:
        UserError: if their length is not the directions'.
    """
    values = (
        torch.from_numpy(features.values)
        if isinstance(features, FeatureSet)
        else to_matrix(features, "features").cpu()
    )
    if len(values) != n:
        raise UserError(
            f"features of {len(values)} examples, directions of {n}: pass both for the same "
            "examples in the same order."
        )
    centered = values.double() - values.double().mean(0)
    constant = centered.norm(dim=0) <= 1e-12 * values.double().norm(dim=0)
    if bool(constant.any()):
        raise UserError(
            f"feature {int(constant.nonzero()[0])} is constant over the examples: drop it."
        )
    return centered


def subspace_overlap(vectors: Directions, features: Features) -> SubspaceOverlap:
    """Overlap ||Q_V^T Q_F||_F^2 of the directions' span with the centered features' span.

    Args:
        vectors: (N, k) directions, for example ``eigen.vectors[:, 1:5]``; a tensor or a numpy
            array; of EigenDirections the scores are taken.
        features: a FeatureSet, or (N, F) numbers.

    Returns:
        Overlap, cosines of the principal angles, and the largest overlap there could be.

    Raises:
        UserError: if the numbers of examples differ, or all directions are zero.

    Source: arXiv 2510.00468, section 2.

    Example:
        >>> eye = torch.eye(4)
        >>> round(subspace_overlap(eye[:, :2] - 0.25, eye[:, 1:3]).overlap, 3)
        1.25
    """
    vectors = scores_of(vectors)
    values = _feature_values(features, len(vectors))
    came_in = None if isinstance(features, FeatureSet) else to_tensor(features, "features").dtype
    basis_v, basis_f = orthonormal_basis(vectors), orthonormal_basis(values, came_in)
    if basis_v.shape[1] == 0:
        raise UserError("all directions are zero: leave them out, there is nothing to compare.")
    singular = torch.linalg.svdvals(basis_v.T @ basis_f)
    return SubspaceOverlap(
        float(singular.square().sum()), singular, min(basis_v.shape[1], basis_f.shape[1])
    )


def abs_cosines(vectors: Directions, features: Features) -> Float[Tensor, "k f"]:
    """|cos| of every direction with every centered feature.

    Args:
        vectors: (N, k) directions, or EigenDirections, whose scores are taken.
        features: a FeatureSet, or (N, F) numbers.

    Raises:
        UserError: if the numbers of examples differ, or a direction is zero.

    Example:
        >>> cosines = abs_cosines(torch.tensor([[1.0], [-1.0]]), torch.tensor([[3.0], [5.0]]))
        >>> round(cosines.item(), 6)
        1.0
    """
    unit = _unit_directions(vectors)
    values = _feature_values(features, len(unit))
    return (unit.T @ torch.nn.functional.normalize(values, dim=0)).abs()


def _unit_directions(vectors: Directions) -> Float[Tensor, "n k"]:
    """Directions of norm 1, in float64.

    Raises:
        UserError: if one is zero, and has no angle with anything.
    """
    found = scores_of(vectors).cpu().double()
    norms = found.norm(dim=0)
    if bool((norms == 0).any()):
        zero = int((norms == 0).nonzero()[0])
        raise UserError(
            f"direction {zero} is zero and has no angle with a feature: leave it out, "
            "vectors[:, vectors.norm(dim=0) > 0]."
        )
    return found / norms


def group_projections(
    vectors: Directions, features: FeatureSet
) -> tuple[Float[Tensor, "k g"], list[str]]:
    """Share of every direction's squared norm in the span of each feature group.

    For the cosine and sine of one frequency this is the best match over phases.

    Args:
        vectors: (N, k) directions.
        features: whose groups to project on.

    Returns:
        (k, G) numbers between 0 and 1, and the G groups' names.

    Raises:
        UserError: if the numbers of examples differ, or a direction is zero.

    Example:
        >>> from feature_sets import fourier
        >>> a, b = np.divmod(np.arange(25), 5)
        >>> wave = torch.tensor(np.cos(2 * np.pi * (a + b) / 5 + 1.0))[:, None]
        >>> shares, names = group_projections(wave, fourier(a, b, 5, families=["a+b"]))
        >>> dict(zip(names, shares[0].round(decimals=3).tolist()))
        {'a+b k=1': 1.0, 'a+b k=2': 0.0}
    """
    check_feature_set(features)
    unit = _unit_directions(vectors)
    values = _feature_values(features, len(unit))
    names = features.group_names()
    groups = np.array(features.groups)
    columns = [
        (orthonormal_basis(values[:, torch.from_numpy(groups == name)]).T @ unit).square().sum(0)
        for name in names
    ]
    return torch.stack(columns, 1), names


def purity(
    vectors: Directions,
    features: FeatureSet,
    by: Literal["group", "family"] = "group",
) -> Float[Tensor, " k"]:
    """Largest share of each direction's squared norm that one feature group holds.

    max over groups g of ||Q_g^T v||^2 / ||v||^2, Q_g an orthonormal basis of g's features.

    Args:
        vectors: (N, k) directions.
        features: whose groups to look at: a family's cosine and sine of one frequency.
        by: "family" for all frequencies of a family together.

    Returns:
        (k,) numbers between 0 and 1.

    Raises:
        UserError: as :func:`group_projections`.

    Example:
        >>> from feature_sets import fourier
        >>> a, b = np.divmod(np.arange(25), 5)
        >>> one = torch.tensor(a == 3).double()[:, None] - 0.2  # both frequencies alike
        >>> features = fourier(a, b, 5, families=["a", "b"])
        >>> [round(purity(one, features, by).item(), 3) for by in ("group", "family")]
        [0.5, 1.0]
    """
    check_known("by", by, ("group", "family"))
    check_feature_set(features)
    if by == "family":
        features = replace(features, groups=features.families)
    return group_projections(vectors, features)[0].max(1).values
