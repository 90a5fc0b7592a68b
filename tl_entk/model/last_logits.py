"""Logits of the token after each window: no other position's are computed."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_entk.model.adapters import TransformerAdapter, adapt_transformer
from tl_entk.model.adapters.transformer import Outputs
from tl_entk.model.capture import reading
from tl_entk.model.checks import check_model


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
    adapter = adapt_transformer(model)
    check_model(adapter)
    tokens = adapter.check_tokens(tokens)
    rows = tokens.split(batch_size)
    return torch.cat([last_logits_of(adapter, batch, adapter.outputs) for batch in rows])


def last_logits_of(
    adapter: TransformerAdapter, tokens: Int[Tensor, "b t"], outputs: Outputs
) -> Float[Tensor, "b d_vocab"]:
    """The same of one batch, by any function from tokens to outputs.

    Args:
        adapter: of the model.
        tokens: windows of one length.
        outputs: ``adapter.outputs``, or a pass that keeps keys and values.
    """
    n, length = tokens.shape
    last = torch.full((n,), length - 1, device=tokens.device)
    with torch.no_grad(), reading([], adapter.final_hidden, last, n):
        return outputs(tokens)[:, 0]
