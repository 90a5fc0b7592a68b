"""Checks of single values that a caller passes: one helper for each kind."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from feature_sets.errors import UserError


def is_integer(value: Any) -> bool:
    """Whether a value counts: an int or a numpy integer, no boolean.

    Example:
        >>> is_integer(3), is_integer(True), is_integer(3.0)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_place(name: str, value: Any, count: int) -> None:
    """Refuse what is none of ``count`` places, counted from 0.

    Raises:
        UserError: names the value, and how many there are.

    Example:
        >>> check_place("direction", 2, 3)
    """
    if not is_integer(value) or not 0 <= value < count:
        raise UserError(f"{name} {value!r}: there are 0 to {count - 1}.")


def check_at_least(name: str, value: Any, least: int = 1) -> None:
    """Refuse what is no integer from ``least`` on.

    Raises:
        UserError: names the value.

    Example:
        >>> check_at_least("k", 3)
    """
    if not is_integer(value) or value < least:
        raise UserError(f"{name} = {value!r}: pass an integer, {least} or more.")
