"""The memory that a computation is planned for."""

from __future__ import annotations

import torch

from feature_sets.errors import UserError
from tl_entk.tools.values import is_integer

_DEFAULT_BUDGET = 4 * 2**30
_CPU = torch.device("cpu")


def check_memory_budget(memory_budget: int | None, device: torch.device = _CPU) -> int:
    """Bytes that a computation is planned for.

    Args:
        memory_budget: bytes; None for 4 GiB, or 40 % of a GPU's memory: kernels are slow there
            where chunks are small, and what is planned must not depend on what else runs.
        device: where it is computed.

    Raises:
        UserError: for no integer, or less than 1 MiB.

    Example:
        >>> check_memory_budget(None) == 4 * 2**30
        True
    """
    if memory_budget is None:
        return _share_of_gpu(device) if device.type == "cuda" else _DEFAULT_BUDGET
    if not is_integer(memory_budget):
        raise UserError(
            f"memory_budget = {memory_budget!r}: pass bytes as an integer, 2 * 2**30 for 2 GiB."
        )
    if memory_budget < 2**20:
        raise UserError(
            f"memory_budget = {memory_budget} bytes is less than 1 MiB: pass bytes, for example "
            "2 * 2**30 for 2 GiB."
        )
    return memory_budget


def _share_of_gpu(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).total_memory * 2 // 5


def examples_per_pass(n: int, floats: int, itemsize: int, memory_budget: int) -> int:
    """Examples in one forward pass: its graph may take a quarter of the budget.

    Args:
        n: examples there are.
        floats: numbers that autograd keeps for one of them.
        itemsize: bytes of a number.
        memory_budget: bytes.

    Example:
        >>> examples_per_pass(100, floats=1000, itemsize=4, memory_budget=2**20)
        65
    """
    return max(1, min(n, memory_budget // 4 // (floats * itemsize)))
