"""The state of an optimizer as named tensors, to go on with a training that was interrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]
) -> dict[str, Tensor]:
    """What an optimizer keeps of every parameter.

    Args:
        optimizer: of one step or more.
        parameters: in an order that :func:`restore_optimizer` is given too.
    """
    return {
        f"adam.{index}.{key}": value
        for index, parameter in enumerate(parameters)
        for key, value in optimizer.state[parameter].items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Give a new optimizer the state that :func:`optimizer_tensors` read."""
    for index, parameter in enumerate(parameters):
        prefix = f"adam.{index}."
        optimizer.state[parameter] = {
            key.removeprefix(prefix): value.to(parameter.device)
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
