"""Controls: does a direction have a feature, or does it sort examples by what is predicted?

Examples of one group, such as windows with one predicted token, are alike in the prediction. What
tells them apart within the group is something else.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.feature_set import FeatureSet
from tl_entk.alignment.splitting import Groups, number_groups
from tl_entk.directions.eigen import EigenDirections, scores_of
from tl_entk.tools.arrays import Rows

# what is left of scores that are the same all over a group, over the largest score
_ROUNDING = 1e-9


def center_within(scores: EigenDirections | Rows, groups: Groups) -> Float[Tensor, "n k"]:
    """Scores less the mean of their group: what is left within it.

    Args:
        scores: (N, k), or directions.
        groups: what each example belongs to, such as its predicted token.

    Raises:
        UserError: if their numbers differ.

    Example:
        >>> center_within(torch.tensor([[1.0], [3.0], [7.0]]), ["a", "a", "b"]).flatten().tolist()
        [-1.0, 1.0, 0.0]
    """
    values = scores_of(scores).cpu().double()
    index, count = number_groups(groups, len(values))
    where = torch.from_numpy(index)
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add_(0, where, values)
    sizes = torch.bincount(where, minlength=count)
    left = values - (sums / sizes[:, None])[where]
    # rounding would tell the groups apart again
    return torch.where(left.abs() > _ROUNDING * values.abs().max(), left, 0.0)


def shared_groups(groups: Groups) -> Int[np.ndarray, " m"]:
    """Indices of the examples that are not alone in their group.

    Example:
        >>> shared_groups(["the", "a", "the"]).tolist()
        [0, 2]
    """
    index, count = number_groups(groups, len(groups))
    return np.flatnonzero(np.bincount(index, minlength=count)[index] > 1)


def varying_labels(features: FeatureSet, groups: Groups, least: int = 8) -> list[str]:
    """Binary features with so many positives and negatives in groups that have both.

    Where a label is the same all over a group, nothing within the group can show it.

    Args:
        features: of N examples.
        groups: of the same examples.
        least: positives, and negatives, in groups of both kinds.

    Raises:
        UserError: if their numbers differ.

    Example:
        >>> noun = FeatureSet(np.array([[1], [0], [1], [1]]), ("NOUN",), ("tag",), ("NOUN",))
        >>> varying_labels(noun, ["a", "a", "b", "b"], least=1)
        ['NOUN']
        >>> varying_labels(noun, ["a", "b", "a", "a"], least=1)
        []
    """
    index, count = number_groups(groups, len(features.values))
    sizes = np.bincount(index, minlength=count)
    found = []
    for name, column, binary in zip(
        features.names, features.values.T, features.is_binary, strict=True
    ):
        positives = np.bincount(index, column, count)
        mixed = (positives > 0) & (positives < sizes)
        fewest = min(positives[mixed].sum(), (sizes - positives)[mixed].sum())
        if binary and fewest >= least:
            found.append(name)
    return found
