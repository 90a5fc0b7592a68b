"""Checks of single values that a caller passes: one helper for each kind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from feature_sets.errors import UserError

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def is_integer(value: Any) -> bool:
    """Whether a value counts: an int or a numpy integer, no boolean.

    Example:
        >>> is_integer(3), is_integer(True), is_integer(3.0)
        (True, False, False)
    """
    return hasattr(value, "__index__") and not isinstance(value, bool | Tensor)


def is_index_tensor(value: Any) -> bool:
    """Whether a value is a tensor of integers.

    Example:
        >>> is_index_tensor(torch.tensor([1, 2])), is_index_tensor(torch.tensor([1.0]))
        (True, False)
    """
    return isinstance(value, Tensor) and value.dtype in INTEGERS


def check_at_least(name: str, value: Any, least: int = 1) -> None:
    """Refuse what is no integer from ``least`` on.

    Raises:
        UserError: names the value.

    Example:
        >>> check_at_least("k", 3)
    """
    if not is_integer(value) or value < least:
        raise UserError(f"{name} = {value!r}: pass an integer, {least} or more.")
