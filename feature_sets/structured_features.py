"""Sparse features that depend on each other: pairs, parents with children, wholes with parts."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from feature_sets.structures import Structure, check_sparsity, family_of, feature_kinds
from feature_sets.superposition import check_drawing, sparse_features


def structured_features(
    n: int, features: int, sparsity: float, structure: Structure, generator: torch.Generator
) -> Float[Tensor, "n features"]:
    """Random sparse feature values with a known structure, every example scaled to norm 1.

    With p = 1 - S, and values uniform in [0, 1] where a feature is present:

    - ``independent``: each present with probability p (:func:`sparse_features`).
    - ``correlated``: both of a pair present with probability p, or neither; their values differ.
    - ``anticorrelated``: one of a pair present with probability p, the other with probability p,
      never both.
    - ``hierarchical``: a parent present with probability 2p; each of its four children with
      probability 1/2 where the parent is, hence p, and never without it.
    - ``sums``: two parts a and b: a alone, b alone and both with probability p each; the whole is
      a + b.
    - ``conjunctions``: parts as those; the whole is min(a, b): present where both are.

    Args:
        n: examples.
        features: how many; a multiple of the size of a family.
        sparsity: S, from 0 (pairs that exclude each other and hierarchies: 1/2, wholes: 2/3) to
            below 1.
        structure: how they hang together.
        generator: what draws them.

    Raises:
        UserError: if a size or S is out of its range, or the structure is unknown.

    Source: the toy models of arXiv 2510.00468, section 3; pairs after Elhage et al. 2022, "Toy
    models of superposition"; hierarchies and wholes are ours.

    Example:
        >>> x = structured_features(50, 10, 0.8, "hierarchical", torch.Generator().manual_seed(0))
        >>> parents, children = x[:, ::5], x.reshape(50, 2, 5)[:, :, 1:]
        >>> bool((children.sum(2)[parents == 0] == 0).all())
        True
    """
    if structure == "independent":
        return sparse_features(n, features, sparsity, generator)
    check_drawing(n, features, sparsity, generator)
    size = len(family_of(structure).kinds)
    feature_kinds(features, structure)
    check_sparsity(sparsity, structure)
    values = torch.rand(n, features // size, size, generator=generator)
    coin = torch.rand(n, features // size, generator=generator)
    p = 1 - sparsity
    if structure == "correlated":
        values = values * (coin < p)[..., None]
    elif structure == "anticorrelated":
        values = values * torch.stack([coin < p, (coin >= p) & (coin < 2 * p)], 2)
    elif structure == "hierarchical":
        values = values * _present_hierarchy(coin < 2 * p, size - 1, generator)
    else:
        parts = torch.stack([coin < 2 * p, (coin >= p) & (coin < 3 * p)], 2)
        a, b = (values[..., :2] * parts).unbind(2)
        whole = a + b if structure == "sums" else torch.minimum(a, b)
        values = torch.stack([a, b, whole], 2)
    return torch.nn.functional.normalize(values.flatten(1), dim=1)


def _present_hierarchy(
    parent: Bool[Tensor, "n f"], children: int, generator: torch.Generator
) -> Bool[Tensor, "n f s"]:
    """Every parent, and a fair coin for each of its children."""
    coins = torch.rand(*parent.shape, children, generator=generator) < 0.5
    return torch.cat([parent[..., None], parent[..., None] & coins], 2)
