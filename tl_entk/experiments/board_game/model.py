"""The Transformer that learns the legal moves: pre-norm blocks, learned positions, untied."""

from __future__ import annotations

from typing import Any

import torch

from tl_entk.experiments.board_game.settings import BoardGameSettings
from tl_entk.experiments.native_bridge import boot_native_bridge


def build_model(settings: BoardGameSettings) -> Any:
    """The untrained model of a seed, in evaluation mode; its tokens and logits are the squares.

    Args:
        settings: sizes and seed.

    Returns:
        A TransformerBridge; its logits have shape (batch, moves, squares).

    Example:
        >>> model = build_model(BoardGameSettings(size=4, moves=3, d_model=8, d_mlp=8, k=2))
        >>> model(torch.tensor([[1, 0, 4]])).shape
        torch.Size([1, 3, 16])
    """
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        return boot_native_bridge(
            n_layers=settings.n_layers,
            d_model=settings.d_model,
            d_head=settings.d_model // settings.n_heads,
            n_heads=settings.n_heads,
            d_mlp=settings.d_mlp,
            n_ctx=settings.moves,
            d_vocab=settings.squares,
            d_vocab_out=settings.squares,
            act_fn="gelu",
            normalization_type="LN",
            seed=settings.seed,
        ).eval()
