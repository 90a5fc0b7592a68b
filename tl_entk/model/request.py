"""What a call asks of a model, checked: the same for dense blocks and for operators."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.model.adapters import ModelAdapter, adapt
from tl_entk.model.checks import (
    Position,
    check_inputs,
    check_model,
    check_padding_row,
    check_position,
    check_supported,
    check_tokens,
)
from tl_entk.model.sites import Components, select
from tl_entk.model.whole_gradient import check_whole_gradient


@dataclass(frozen=True, eq=False)
class Request:
    """A model, its inputs, and components.

    Attributes:
        adapter: the model.
        tokens: (n, t) on its device; inputs (n, ...) of a module of one's own.
        positions: (n,) position to read of every example, counted from 0.
        names: the components asked for.
        dtype: number format of kernels and vectors.
        n_outputs: number of logits.
    """

    adapter: ModelAdapter
    tokens: Shaped[Tensor, "n ..."]
    positions: Int[Tensor, " n"]
    names: list[str]
    dtype: torch.dtype
    n_outputs: int


def read_request(
    model: torch.nn.Module,
    tokens: Tensor,
    components: Components,
    position: Position,
    dtype: torch.dtype | None,
) -> Request:
    """Check what a public call was given.

    Raises:
        UserError, RuntimeError: with the mend; see the checks.
    """
    adapter = adapt(model)
    check_model(adapter)
    own = adapter.unembed_input is None
    if own:
        tokens, n_outputs = check_inputs(adapter, tokens)
        positions = check_position(position, len(tokens), 1).to(tokens.device)
        check_whole_gradient(adapter, tokens)
    else:
        tokens, n_outputs = check_tokens(adapter, tokens), adapter.n_outputs
        positions = check_position(position, *tokens.shape).to(tokens.device)
    if components is None:
        check_supported(adapter)
    names = select(adapter.component_names, adapter.default_components, components)
    if not own:
        check_padding_row(adapter, names, tokens)
    if dtype is not None and dtype not in (torch.float32, torch.float64):
        raise UserError(f"dtype is {dtype!r}: pass torch.float32 or torch.float64.")
    if dtype is None:
        dtype = adapter.dtype if adapter.dtype.itemsize >= 4 else torch.float32
    return Request(adapter, tokens, positions, names, dtype, n_outputs)


def positions_seen(request: Request, uses: dict[str, int]) -> int:
    """Positions of an example: its tokens, or the most uses of a weight of one's own module."""
    if request.adapter.unembed_input is None:
        return max(uses.values())
    return request.tokens.shape[1]
