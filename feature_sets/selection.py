"""Which labels are worth asking for: the paper's rules of support, variety and redundancy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet, check_feature_set
from feature_sets.values import check_at_least, read_names


@dataclass(frozen=True, eq=False)
class Selection:
    """Labels that were kept, and why the others were not.

    Attributes:
        features: the kept ones, in their order.
        dropped: name to reason.
    """

    features: FeatureSet
    dropped: dict[str, str]


def select_labels(
    features: FeatureSet,
    words: Sequence[str],
    *,
    min_positives: int = 30,
    min_words: int = 12,
    top_share: float = 0.5,
    max_correlation: float = 0.95,
    exempt: Collection[str] = ("tag", "own"),
) -> Selection:
    """Keep binary labels that are frequent enough, of many words, and no second name of another.

    A label is dropped if it has fewer than ``min_positives`` positives or negatives; if its
    positives are fewer than ``min_words`` different words, or one word is more than ``top_share``
    of them (it would be a feature of that word); or if it correlates (phi, in size) more than
    ``max_correlation`` with a tag or with a label kept before it. Tags and a user's own labels are
    asked for support alone; real-valued features are kept as they are.

    Args:
        features: labels of N windows, tags first.
        words: the word that each label is of, (N,); case is ignored.
        min_positives: least number of examples on either side.
        min_words: least number of different words among the positives.
        top_share: largest share of one word among the positives.
        max_correlation: with any label that stays.
        exempt: families of the labels that need support only.

    Raises:
        UserError: if the numbers of words and examples differ, or nothing is left.

    Source: arXiv 2510.00468, section 5.

    Example:
        >>> values = np.array([[1, 1], [1, 1], [0, 0], [0, 0]])
        >>> labels = FeatureSet(values, ("NOUN", "Number=Sing"), ("tag", "morphology"),
        ...                     ("NOUN", "Number=Sing"))
        >>> kept = select_labels(labels, ["dog", "cat", "ran", "sat"], min_positives=2, min_words=2)
        >>> kept.dropped
        {'Number=Sing': 'says the same as NOUN (correlation 1.00)'}
    """
    check_feature_set(features)
    check_at_least("min_positives", min_positives, 0)
    check_at_least("min_words", min_words, 0)
    words = read_names("words", words, unique=False)
    n = len(features.values)
    if len(words) != n:
        raise UserError(f"{len(words)} words for {n} examples: pass one word per example.")
    lower = [word.lower() for word in words]
    kept: list[int] = []
    dropped: dict[str, str] = {}
    for index, name in enumerate(features.names):
        if not features.is_binary[index]:
            kept.append(index)
            continue
        column = features.values[:, index]
        reason = _lacks_support(column, min_positives)
        if reason is None and features.families[index] not in exempt:
            found = Counter(word for word, positive in zip(lower, column, strict=True) if positive)
            reason = _lacks_variety(found, min_words, top_share) or _repeats_another(
                column, features, [i for i in kept if features.is_binary[i]], max_correlation
            )
        if reason is None:
            kept.append(index)
        else:
            dropped[name] = reason
    if not kept:
        raise UserError(f"no label is left: {dropped}. Pass more windows, or lower the bounds.")
    return Selection(features.take(kept), dropped)


def _lacks_support(column: np.ndarray, least: int) -> str | None:
    for count, side in ((int(column.sum()), "positive"), (int((1 - column).sum()), "negative")):
        if count < least:
            return f"{count} {side} examples, fewer than {least}"
    return None


def _lacks_variety(found: Counter[str], min_words: int, top_share: float) -> str | None:
    if len(found) < min_words:
        return f"{len(found)} different words, fewer than {min_words}"
    word, count = found.most_common(1)[0]
    share = count / found.total()
    return f"{share:.0%} of its words are {word!r}" if share > top_share else None


def _repeats_another(
    column: np.ndarray, features: FeatureSet, kept: Sequence[int], most: float
) -> str | None:
    if not kept:
        return None
    others = features.values[:, list(kept)]
    centered, around = column - column.mean(), others - others.mean(0)
    phi = centered @ around / (np.linalg.norm(centered) * np.linalg.norm(around, axis=0))
    worst = int(np.abs(phi).argmax())
    if abs(phi[worst]) <= most:
        return None
    return f"says the same as {features.names[kept[worst]]} (correlation {phi[worst]:.2f})"
