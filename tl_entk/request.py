"""What a call asks of a model, checked: the same for dense blocks and for operators."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from tl_entk.adapters import ModelAdapter, adapt
from tl_entk.guards import (
    Position,
    check_model,
    check_padding_row,
    check_position,
    check_supported,
    check_tokens,
)
from tl_entk.sites import Components, select


@dataclass(frozen=True, eq=False)
class Request:
    """A model, its inputs, and components.

    Attributes:
        adapter: the model.
        tokens: (n, t) on its device.
        positions: (n,) position to read of every example, counted from 0.
        names: the components asked for.
        dtype: number format of kernels and vectors.
    """

    adapter: ModelAdapter
    tokens: Int[Tensor, "n t"]
    positions: Int[Tensor, " n"]
    names: list[str]
    dtype: torch.dtype


def read_request(
    model: torch.nn.Module,
    tokens: Tensor,
    components: Components,
    position: Position,
    dtype: torch.dtype | None,
) -> Request:
    """Check what a public call was given.

    Raises:
        TypeError, ValueError, RuntimeError: with the mend; see the checks.
    """
    adapter = adapt(model)
    check_model(adapter)
    tokens = check_tokens(adapter, tokens)
    positions = check_position(position, *tokens.shape).to(tokens.device)
    if components is None:
        check_supported(adapter)
    names = select(adapter.component_names, adapter.default_components, components)
    check_padding_row(adapter, names, tokens)
    if dtype is not None and dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype is {dtype!r}: pass torch.float32 or torch.float64.")
    if dtype is None:
        dtype = adapter.dtype if adapter.dtype.itemsize >= 4 else torch.float32
    return Request(adapter, tokens, positions, names, dtype)
