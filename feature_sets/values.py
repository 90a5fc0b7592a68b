"""Checks of what a caller passes, without torch: one helper for each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from numbers import Integral
from typing import Any

import numpy as np
from jaxtyping import Shaped

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


def check_kind(name: str, value: Any, kinds: Any, advice: str) -> None:
    """Refuse what is of another class.

    Args:
        name: of the argument.
        value: what was passed.
        kinds: class, or classes, that it may be of.
        advice: what to pass, for the message.

    Raises:
        UserError: names the class.

    Example:
        >>> check_kind("bases", {}, dict, "a mapping")
    """
    if not isinstance(value, kinds):
        raise UserError(f"{name} is a {type(value).__name__}: pass {advice}.")


def read_list(name: str, values: Any, of: str) -> list[Any]:
    """Several values as a list.

    Args:
        name: of the argument.
        values: what was passed.
        of: what they are, for the message, such as "integers".

    Raises:
        UserError: for what has no values, such as a number.

    Example:
        >>> read_list("layers", range(2), "integers")
        [0, 1]
    """
    try:
        return list(values)
    except TypeError:
        raise UserError(f"{name} is a {type(values).__name__}: pass a list of {of}.") from None


def read_labels(name: str, values: Any, n: int) -> list[Any]:
    """What each of n examples belongs to, as a list.

    Args:
        name: of the argument.
        values: what was passed.
        n: examples.

    Raises:
        UserError: if there are not n, or one is nothing to group by.

    Example:
        >>> read_labels("groups", ("the", "a"), 2)
        ['the', 'a']
    """
    found = read_list(name, values, "one per example")
    if len(found) != n:
        raise UserError(f"{len(found)} {name} for {n} examples: pass one per example.")
    other = [one for one in found if not isinstance(one, Hashable)]
    if other:
        raise UserError(f"{name} has a {type(other[0]).__name__}: pass numbers or texts.")
    return found


def read_integers(name: str, values: Any, least: int = 0) -> list[int]:
    """Several integers from ``least`` on, as a list.

    Raises:
        UserError: names what is none.

    Example:
        >>> read_integers("expected", (1, 57))
        [1, 57]
    """
    found = read_list(name, values, "integers")
    for value in found:
        if not is_integer(value) or value < least:
            raise UserError(f"{name} has {value!r}: pass integers, {least} or more.")
    return found


def read_names(name: str, values: Any, *, unique: bool = True, some: bool = True) -> list[str]:
    """Several names as a list.

    Args:
        name: of the argument.
        values: what was passed.
        unique: whether each may be there once only.
        some: whether there has to be one.

    Raises:
        UserError: for a single text, which would be read letter by letter, for none at all, and
            for what is no text or there twice.

    Example:
        >>> read_names("readouts", ("logsumexp",))
        ['logsumexp']
    """
    if isinstance(values, str):
        raise UserError(f"{name} is one text, {values!r}: pass a list of texts, [{values!r}].")
    found = read_list(name, values, "texts")
    for one in found:
        if not isinstance(one, str):
            raise UserError(f"{name} has {one!r}: pass a list of texts.")
    if some and not found:
        raise UserError(f"no {name}: pass a list of one text or more.")
    twice = [one for one, count in Counter(found).items() if count > 1]
    if unique and twice:
        raise UserError(f"{name} has {twice[0]!r} twice: pass each once.")
    return found


def read_numbers(name: str, values: Any) -> Shaped[np.ndarray, " ..."]:
    """Real numbers as an array; a tensor is copied to the CPU.

    Raises:
        UserError: if they are none.

    Example:
        >>> read_numbers("values", [[1, 2]]).shape
        (1, 2)
    """
    try:
        found = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    except (ValueError, TypeError, RuntimeError):  # rows of different lengths, most often
        found = np.asarray(None)
    if found.dtype.kind not in "biuf":
        raise UserError(
            f"{name} is a {type(values).__name__} of {found.dtype}: pass an array of real numbers."
        )
    return found


def check_known(name: str, value: Any, known: Iterable[str]) -> None:
    """Refuse what is none of some names.

    Raises:
        UserError: names those that there are.

    Example:
        >>> check_known("by", "group", ("feature", "group"))
    """
    if not isinstance(value, str) or value not in known:
        raise UserError(f"{name} = {value!r}: pass one of {', '.join(map(repr, known))}.")
