"""Tensors of integers, which name examples or tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def is_index_tensor(value: Any) -> bool:
    """Whether a value is a tensor of integers.

    Example:
        >>> is_index_tensor(torch.tensor([1, 2])), is_index_tensor(torch.tensor([1.0]))
        (True, False)
    """
    return isinstance(value, Tensor) and value.dtype in INTEGERS
