"""Checks of single values that a caller passes: one helper for each kind.

Those that ``feature_sets`` needs too are there.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from feature_sets.errors import UserError
from feature_sets.values import (
    check_at_least,
    check_kind,
    check_known,
    check_place,
    is_integer,
    read_integers,
    read_labels,
    read_list,
    read_names,
)

__all__ = [
    "check_at_least",
    "check_between",
    "check_kind",
    "check_known",
    "check_place",
    "check_positive",
    "check_seed",
    "check_share",
    "is_integer",
    "is_number",
    "read_integers",
    "read_labels",
    "read_list",
    "read_names",
]

# numpy's and scikit-learn's generators take seeds below
_SEEDS = 2**32


def is_number(value: Any) -> bool:
    """Whether a value is a finite real number, no boolean.

    Example:
        >>> is_number(0.5), is_number(True), is_number(float("nan"))
        (True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_between(name: str, value: Any, most: int, there: str) -> None:
    """Refuse what is no integer from 1 to ``most``.

    Args:
        name: of the argument.
        value: what was passed.
        most: the largest.
        there: of what there are so many, for the message.

    Raises:
        UserError: names the value.

    Example:
        >>> check_between("k", 3, 5, "the kernel has 5 eigendirections")
    """
    if not is_integer(value) or not 1 <= value <= most:
        kind = "" if is_integer(value) else "an integer, "
        raise UserError(f"{name} = {value!r}: {there}; pass {kind}1 to {most}.")


def check_share(name: str, value: Any, what: str = "a share", example: float = 0.5) -> None:
    """Refuse what is no number between 0 and 1, both excluded.

    Args:
        name: of the argument.
        value: what was passed.
        what: it is, for the message.
        example: of a value that would do.

    Raises:
        UserError: names the value.

    Example:
        >>> check_share("tol", 1e-3, "a relative residual", 1e-3)
    """
    if not is_number(value) or not 0 < value < 1:
        raise UserError(f"{name} = {value!r}: pass {what} between 0 and 1, such as {example:g}.")


def check_positive(name: str, value: Any, why: str = "") -> None:
    """Refuse what is no positive finite number.

    Args:
        name: of the argument.
        value: what was passed.
        why: it has to be, for the message.

    Raises:
        UserError: names the value.

    Example:
        >>> check_positive("ridge", 1e-3)
    """
    if not is_number(value) or value <= 0:
        raise UserError(f"{name} = {value!r}: pass a positive number{why}.")


def check_seed(seed: Any) -> None:
    """Refuse what does not seed every generator.

    Raises:
        UserError: names the seed.

    Example:
        >>> check_seed(0)
    """
    if not is_integer(seed) or not 0 <= seed < _SEEDS:
        raise UserError(f"seed = {seed!r}: pass an integer from 0 to {_SEEDS - 1}.")
