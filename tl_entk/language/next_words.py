"""What a model says next: logits at the end of windows, and greedy continuations."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.model.adapters import ModelAdapter, adapt
from tl_entk.model.capture import reading
from tl_entk.model.checks import check_model, check_tokens
from tl_entk.tools.progress import Progress


def last_logits(
    model: Any, tokens: Int[Tensor, "n t"], batch_size: int = 64
) -> Float[Tensor, "n d_vocab"]:
    """Logits of the token after each window; no other position's are computed.

    Args:
        model: a TransformerLens model.
        tokens: windows of one length, without padding.
        batch_size: windows per forward pass.

    Returns:
        ``model(tokens)[:, -1]``.

    Raises:
        UserError: if the model is in train mode or the tokens do not fit it.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> last_logits(model, data.tokens).shape
        torch.Size([25, 6])
    """
    adapter = adapt(model)
    check_model(adapter)
    tokens = _checked(adapter, tokens)
    return torch.cat([_one_batch(adapter, rows) for rows in tokens.split(batch_size)])


def greedy_continuation(
    model: Any,
    tokens: Int[Tensor, "n t"],
    n_new: int = 3,
    batch_size: int = 64,
    progress: bool = False,
) -> Int[Tensor, "n n_new"]:
    """The most probable next tokens of each window, one after the other.

    The window is run anew for each of them, which is right for every architecture.

    Args:
        model: a TransformerLens model.
        tokens: windows of one length, without padding.
        n_new: tokens to add.
        batch_size: windows per forward pass.
        progress: show a progress bar.

    Returns:
        The added tokens only.

    Raises:
        UserError: if the model is in train mode, the tokens do not fit it, or windows and new
            tokens together are longer than its context.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> greedy_continuation(model, data.tokens[:, :2], 2).shape
        torch.Size([25, 2])
    """
    adapter = adapt(model)
    check_model(adapter)
    tokens = _checked(adapter, tokens)
    length, context = tokens.shape[1], adapter.context
    # the last new token is not read again
    if n_new < 1 or length + n_new - 1 > context:
        raise UserError(
            f"n_new = {n_new} after windows of {length}: pass 1 to {context - length + 1}, the "
            f"model's context being {context}."
        )
    found = []
    with Progress("continuing", -(-len(tokens) // batch_size) * n_new, progress) as bar:
        for rows in tokens.split(batch_size):
            for _ in range(n_new):
                following = _one_batch(adapter, rows).argmax(1, keepdim=True)
                rows = torch.cat([rows, following], 1)
                bar.advance()
            found.append(rows[:, length:])
    return torch.cat(found)


def _checked(adapter: ModelAdapter, tokens: Int[Tensor, "n t"]) -> Int[Tensor, "n t"]:
    if isinstance(tokens, Tensor) and tokens.ndim == 2 and len(tokens) == 1:
        # a kernel needs two windows, a continuation one
        return check_tokens(adapter, tokens.expand(2, -1))[:1]
    return check_tokens(adapter, tokens)


def _one_batch(adapter: ModelAdapter, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b d_vocab"]:
    n, length = tokens.shape
    last = torch.full((n,), length - 1, device=tokens.device)
    with torch.no_grad(), reading([], adapter.unembed_input, last, n):
        return adapter.logits(tokens)[:, 0]
