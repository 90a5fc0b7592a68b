"""One split of the examples into a half to fit or choose on and a half to judge on.

Every method and every feature of a feature set shares it, so that figures can be compared pair by
pair. A family of mutually exclusive labels, such as part-of-speech tags, is kept in proportion.
Examples of one group, such as windows before one word, can be kept in one half.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet, check_feature_set
from tl_entk.tools.values import check_seed, check_share, read_labels

_LEAST = 2  # positives and negatives in either half: with one, a bootstrap says nothing


# what an example belongs to, one value per example
Groups = Sequence[Hashable] | Int[np.ndarray, " n"] | Int[Tensor, " n"]


def number_groups(groups: Groups, n: int) -> tuple[Int[np.ndarray, " n"], int]:
    """The group of every example as a number, in order of first appearance, and how many.

    Raises:
        UserError: if there are not n, or they are nothing to group by.

    Example:
        >>> number_groups(["the", "a", "the"], 3)
        (array([0, 1, 0]), 2)
    """
    if isinstance(groups, np.ndarray | Tensor):
        if groups.ndim != 1:
            raise UserError(
                f"groups has shape {tuple(groups.shape)}: pass one per example, ({n},)."
            )
        groups = groups.tolist()
    values = read_labels("groups", groups, n)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(values))}
    return np.array([numbers[group] for group in values], dtype=int), len(numbers)


def take_groups(
    groups: Groups | None, rows: Int[np.ndarray, " m"], n: int
) -> Int[np.ndarray, " m"] | None:
    """The groups of some of n examples, as numbers; None where there are none.

    Example:
        >>> take_groups(["the", "a", "the"], np.array([2, 0]), 3)
        array([0, 0])
    """
    return None if groups is None else number_groups(groups, n)[0][rows]


def halves(
    features: FeatureSet, split: float = 0.5, seed: int = 0, groups: Groups | None = None
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Indices of the train and the test half, the same for all features of the set.

    The split is stratified by the first family of several binary features that exclude each other
    (no example has two of them), or by a single binary feature where there is no such family.
    Examples with none of them are a stratum of their own, strata of one example are merged.
    Without such a family, or with fewer examples in a half than strata, the split is not
    stratified.

    Args:
        features: features of N examples.
        split: share of the examples in the train half.
        seed: of the split.
        groups: what each example belongs to, such as the word it stands before; the examples of a
            group then lie in one half, and the halves are as even as the groups allow.

    Returns:
        The two index arrays, shuffled; together they are 0..N-1.

    Raises:
        UserError: if a half would be empty, or a binary feature has fewer than two positives or
            two negatives in either half. With groups: if they are of another number of examples,
            fewer than two, or asked for with another split than 0.5.

    Source: arXiv 2510.00468, section 5 (stratified 50/50 split).

    Example:
        >>> tags = np.repeat(np.eye(2), 6, axis=0)
        >>> features = FeatureSet(tags, ("NOUN", "VERB"), ("tag", "tag"), ("NOUN", "VERB"))
        >>> train, test = halves(features)
        >>> tags[train].sum(0).tolist(), tags[test].sum(0).tolist()
        ([3.0, 3.0], [3.0, 3.0])
    """
    check_feature_set(features)
    train, test = _draw_split(features, split, seed, groups)
    for rows, half in ((train, "train"), (test, "test")):
        for index in _find_rare(features, rows):
            positives = int(features.values[rows, index].sum())
            raise UserError(
                f"{features.names[index]!r} has {positives} positives and "
                f"{len(rows) - positives} negatives in the {half} half, and needs {_LEAST} of "
                "either: too rare to split; drop it or add examples."
            )
    return train, test


def too_rare(
    features: FeatureSet, split: float = 0.5, seed: int = 0, groups: Groups | None = None
) -> list[str]:
    """Names of the binary features to leave out so that :func:`halves` takes the others.

    Without them the split may be another, in which others are too rare: asked again until none is.

    Args:
        features: features of N examples.
        split: as there.
        seed: as there.
        groups: as there.

    Example:
        >>> tags, names = np.repeat(np.eye(3), (6, 6, 3), axis=0), ("NOUN", "VERB", "INTJ")
        >>> too_rare(FeatureSet(tags, names, ("tag",) * 3, names))
        ['INTJ']
    """
    found: set[str] = set()
    kept = features
    while True:
        parts = _draw_split(kept, split, seed, groups)
        rare = {kept.names[index] for rows in parts for index in _find_rare(kept, rows)}
        found |= rare
        if not rare or len(rare) == len(kept):
            break
        kept = kept.without(rare)
    return [name for name in features.names if name in found]


def _draw_split(
    features: FeatureSet, split: float, seed: int, groups: Groups | None
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    n = len(features.values)
    check_share("split", split)
    check_seed(seed)
    if not 0 < round(split * n) < n:
        raise UserError(
            f"split = {split} of {n} examples leaves one half empty: pass a share between 0 and 1."
        )
    size = round(split * n)
    strata = _find_strata(features)
    if groups is not None:
        return _draw_group_split(n, split, seed, groups, strata)
    if strata is not None and len(np.unique(strata)) > min(size, n - size):
        strata = None
    train, test = train_test_split(
        np.arange(n), train_size=size, random_state=seed, stratify=strata
    )
    return train, test


def _draw_group_split(
    n: int, split: float, seed: int, groups: Groups, strata: Int[np.ndarray, " n"] | None
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    numbers, count = number_groups(groups, n)
    if split != 0.5:
        raise UserError(f"split = {split} with groups: they are parted into halves, pass 0.5.")
    if count < 2:
        raise UserError("all examples are of one group: pass groups to part, or none.")
    folds = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
    labels = np.zeros(n, int) if strata is None else strata
    train, test = next(folds.split(labels, labels, numbers))
    rng = np.random.default_rng(seed)
    return rng.permutation(train), rng.permutation(test)


def _find_strata(features: FeatureSet) -> Int[np.ndarray, " n"] | None:
    """Stratum of every example; None where nothing can be stratified by."""
    binary = np.array(features.is_binary)
    families = np.array(features.families)
    found = [
        labels
        for name in features.family_names()
        if (labels := features.values[:, binary & (families == name)]).sum(1).max(initial=0) == 1
    ]
    if not found:
        return None
    chosen = next((labels for labels in found if labels.shape[1] > 1), found[0])
    strata = np.where(chosen.any(1), chosen.argmax(1), chosen.shape[1])
    sizes = np.bincount(strata)
    single = np.isin(strata, np.flatnonzero(sizes == 1))
    # a lone stratum has no other to merge with: it joins the largest
    strata[single] = len(sizes) if single.sum() > 1 else sizes.argmax()
    return strata


def _find_rare(features: FeatureSet, rows: np.ndarray) -> list[int]:
    """Binary features with too few positives or negatives among these examples."""
    positives = features.values[rows].sum(0)
    fewest = np.minimum(positives, len(rows) - positives)
    return [i for i, binary in enumerate(features.is_binary) if binary and fewest[i] < _LEAST]
