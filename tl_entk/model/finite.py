"""Numbers that are not finite: refused, and where they begin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tl_entk.model.task import Task

_FIX = "mend them, or compute in a wider format (model.float(), dtype=torch.float64)"


def check_finite(values: Tensor, task: Task, rows: slice, what: str) -> None:
    """Refuse what is not finite.

    Args:
        values: to be looked at.
        task: whose they are.
        rows: of its examples.
        what: the values are, for the message.

    Raises:
        RuntimeError: names the weight, or the module and the example, where that begins.
    """
    if not bool(torch.isfinite(values).all()):
        raise RuntimeError(f"{what} is not finite: {_cause(task, rows)}; {_FIX}.")


def _cause(task: Task, rows: slice) -> str:
    model = task.adapter.model
    weights = [name for name, p in model.named_parameters() if not bool(torch.isfinite(p).all())]
    if weights:
        more = f" and {len(weights) - 1} more" if len(weights) > 1 else ""
        return f"there are infinities or NaN in the weight {weights[0]}{more}"
    for row in range(*rows.indices(len(task))):
        if module := _first_not_finite(task, row):
            return f"the output of {module} is infinite or NaN for example {row}"
    return "the weights and activations are finite, but not what is made of them"


def _first_not_finite(task: Task, row: int) -> str:
    """The module that is the first to return infinities or NaN; empty where none does."""
    found: list[str] = []
    handles: list[RemovableHandle] = []

    def look(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            # a mask is minus infinity for its own sake
            if isinstance(first, Tensor) and not bool((first < torch.inf).all()):
                found.append(name)

        return hook

    try:
        for name, module in nn.Module.named_modules(task.adapter.model):
            handles.append(module.register_forward_hook(look(name or "the model")))
        with torch.no_grad():
            task.adapter.outputs(task.inputs[row : row + 1])
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ""
