"""How the features of a toy model hang together: names of structures, and what each feature is."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from feature_sets.errors import UserError
from feature_sets.values import check_at_least

Structure = Literal[
    "independent", "correlated", "anticorrelated", "hierarchical", "sums", "conjunctions"
]
STRUCTURES: tuple[Structure, ...] = get_args(Structure)


class Family(NamedTuple):
    """Features that depend on each other; families are independent of each other.

    Attributes:
        kinds: what each of them is.
        presence: probability that one of them is present at least, in units of 1 - S.
    """

    kinds: tuple[str, ...]
    presence: int


_FAMILIES: dict[Structure, Family] = {
    "independent": Family(("feature",), 1),
    "correlated": Family(("paired", "paired"), 1),
    "anticorrelated": Family(("paired", "paired"), 2),
    "hierarchical": Family(("parent", *["child"] * 4), 2),
    "sums": Family(("part", "part", "whole"), 3),
    "conjunctions": Family(("part", "part", "whole"), 3),
}


def family_of(structure: Structure) -> Family:
    """One family of a structure.

    Raises:
        UserError: for an unknown structure.

    Example:
        >>> family_of("sums").kinds
        ('part', 'part', 'whole')
    """
    if structure not in _FAMILIES:
        raise UserError(f"structure {structure!r}: pass one of {', '.join(STRUCTURES)}.")
    return _FAMILIES[structure]


def feature_kinds(features: int, structure: Structure) -> list[str]:
    """What each feature is; families stand one after the other.

    Args:
        features: how many, whole families.
        structure: how they hang together.

    Raises:
        UserError: for an unknown structure, or a family that is not whole.

    Example:
        >>> feature_kinds(6, "conjunctions")
        ['part', 'part', 'whole', 'part', 'part', 'whole']
    """
    check_at_least("features", features)
    kinds = family_of(structure).kinds
    if features % len(kinds):
        raise UserError(
            f"features = {features}: {structure} ones come in families of {len(kinds)}, pass a "
            f"multiple of {len(kinds)}."
        )
    return [*kinds] * (features // len(kinds))


def check_sparsity(sparsity: float, structure: Structure) -> None:
    """Refuse features that are present too often for their structure.

    Raises:
        UserError: names the least sparsity.

    Example:
        >>> check_sparsity(0.9, "hierarchical")
    """
    presence = family_of(structure).presence
    # 3 (1 - 2/3) is 1 but for rounding
    if presence * (1 - sparsity) > 1 + 1e-9:
        raise UserError(
            f"sparsity = {sparsity}: a family of {structure} features is present with probability "
            f"{presence} (1 - sparsity), pass {1 - 1 / presence:.3g} or more."
        )
