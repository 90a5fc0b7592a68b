"""Fourier features of modular addition: cosines and sines of a, b, a + b and a - b."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet
from feature_sets.values import check_at_least, is_integer, read_list, read_names, read_numbers

Angles = Float[np.ndarray, " n"]

# for angles x = 2 pi k a / p and y = 2 pi k b / p
_FAMILIES: dict[str, Callable[[Angles, Angles], tuple[Angles, Angles]]] = {
    "a": lambda x, y: (np.cos(x), np.sin(x)),
    "b": lambda x, y: (np.cos(y), np.sin(y)),
    "a+b": lambda x, y: (np.cos(x + y), np.sin(x + y)),
    "a-b": lambda x, y: (np.cos(x - y), np.sin(x - y)),
    "axis sum": lambda x, y: (np.cos(x) + np.cos(y), np.sin(x) + np.sin(y)),
    "axis difference": lambda x, y: (np.cos(x) - np.cos(y), np.sin(x) - np.sin(y)),
    "2(a+b)": lambda x, y: (np.cos(2 * x + 2 * y), np.sin(2 * x + 2 * y)),
    "2(a-b)": lambda x, y: (np.cos(2 * x - 2 * y), np.sin(2 * x - 2 * y)),
    "doubled axis sum": lambda x, y: (
        np.cos(2 * x) + np.cos(2 * y),
        np.sin(2 * x) + np.sin(2 * y),
    ),
}

FAMILIES = tuple(_FAMILIES)


def all_frequencies(p: int) -> list[int]:
    """Frequencies 1 to floor(p / 2); the rest are the same waves again.

    Example:
        >>> all_frequencies(7)
        [1, 2, 3]
    """
    return list(range(1, p // 2 + 1))


def fourier(
    a: Integer[np.ndarray, " n"],
    b: Integer[np.ndarray, " n"],
    p: int,
    frequencies: Sequence[int] | None = None,
    families: Sequence[str] = FAMILIES,
) -> FeatureSet:
    """Cosine and sine of every family and frequency, a pair being one group.

    With x = 2 pi k a / p and y = 2 pi k b / p: ``a`` (cos x, sin x); ``b`` the same of y;
    ``a+b`` and ``a-b`` of x + y and x - y; ``axis sum`` (cos x + cos y, sin x + sin y);
    ``axis difference`` with minus; ``2(a+b)``, ``2(a-b)`` and ``doubled axis sum`` at twice the
    angles.

    Args:
        a: first summand of every example.
        b: second summand.
        p: modulus.
        frequencies: k from 1 to p // 2; default all.
        families: default all, see ``FAMILIES``.

    Returns:
        Features named "cos a+b k=3", in groups "a+b k=3" and families "a+b", with their
        frequencies. A sine that is zero everywhere (k = p / 2 of an even p) is left out.

    Raises:
        UserError: for a frequency out of range, an unknown family, a and b of different lengths,
            or without a wave that differs among the examples.

    Source: arXiv 2510.00468, sections 3 and 4.

    Example:
        >>> a, b = np.divmod(np.arange(25), 5)
        >>> features = fourier(a, b, 5, families=["a+b"])
        >>> features.names
        ('cos a+b k=1', 'sin a+b k=1', 'cos a+b k=2', 'sin a+b k=2')
        >>> features.frequencies
        (1, 1, 2, 2)
    """
    check_at_least("p", p, 2)
    a, b = read_summand("a", a), read_summand("b", b)
    if a.shape != b.shape:
        raise UserError(
            f"a and b have lengths {len(a)} and {len(b)}: pass one of each per example."
        )
    if len(a) == 0:
        raise UserError("a and b have no examples: pass one or more.")
    frequencies = _read_frequencies(frequencies, p)
    families = read_names("families", families)
    columns, names, of_family, groups, of_frequency = [], [], [], [], []
    for family in families:
        if family not in _FAMILIES:
            raise UserError(f"no family {family!r}: there are {list(FAMILIES)}.")
        for k in frequencies:
            angle = 2 * np.pi * k / p
            for wave, column in zip(
                ("cos", "sin"), _FAMILIES[family](angle * a, angle * b), strict=True
            ):
                if np.ptp(column) < 1e-9:
                    continue
                columns.append(column)
                names.append(f"{wave} {family} k={k}")
                groups.append(f"{family} k={k}")
                of_family.append(family)
                of_frequency.append(int(k))
    if not columns:
        raise UserError("every wave is alike in all examples: pass more examples.")
    return FeatureSet(
        np.stack(columns, 1),
        tuple(names),
        tuple(of_family),
        tuple(groups),
        tuple(of_frequency),
    )


def read_summand(name: str, values: Any) -> Integer[np.ndarray, " n"]:
    """Integers, one per example, as an array.

    Raises:
        UserError: if they are something else.
    """
    found = read_numbers(name, values)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise UserError(
            f"{name} has shape {found.shape} and kind {found.dtype}: pass integers, one per "
            "example."
        )
    return found.astype(np.int64)


def _read_frequencies(frequencies: Sequence[int] | None, p: int) -> list[int]:
    """The frequencies asked for; all of p's by default.

    Raises:
        UserError: for none, one that p does not have, or one twice.
    """
    if frequencies is None:
        return all_frequencies(p)
    found = read_list("frequencies", frequencies, "integers")
    for k in found:
        if not is_integer(k) or not 1 <= k <= p // 2:
            raise UserError(f"frequency {k} is out of range: pass 1 to {p // 2} for p = {p}.")
    if not found or len(set(found)) < len(found):
        fault = "frequencies has one twice" if found else "there are no frequencies"
        raise UserError(f"{fault}: pass each of 1 to {p // 2} that you want once.")
    return found
