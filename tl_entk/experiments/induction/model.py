"""The 2-layer attention-only Transformer: seeded weights, plain torch, TransformerLens' classes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention

from tl_entk.experiments.induction.settings import InductionSettings
from tl_entk.experiments.modular_transformer.model import build_transformer, load_weights
from tl_entk.experiments.plain_transformer import PlainTransformer, Weights
from tl_entk.model.classes import ModelClass

LAYERS = 2


def seeded_weights(settings: InductionSettings, generator: torch.Generator) -> Weights:
    """Normal weights of standard deviation d_model^-1/2, under TransformerLens names.

    Example:
        >>> weights = seeded_weights(InductionSettings(), torch.Generator().manual_seed(0))
        >>> weights["blocks.1.attn.W_O"].shape
        torch.Size([4, 16, 64])
    """
    d, heads, d_head = settings.d_model, settings.n_heads, settings.d_head
    shapes: dict[str, tuple[int, ...]] = {
        "embed.W_E": (settings.vocabulary, d),
        "pos_embed.W_pos": (settings.length, d),
    }
    for layer in range(LAYERS):
        shapes |= {f"blocks.{layer}.attn.W_{name}": (heads, d, d_head) for name in "QKV"}
        shapes[f"blocks.{layer}.attn.W_O"] = (heads, d_head, d)
    shapes["unembed.W_U"] = (d, settings.vocabulary)
    return {
        name: torch.empty(shape).normal_(0, d**-0.5, generator=generator)
        for name, shape in shapes.items()
    }


class AttentionOnly(PlainTransformer):
    """The function of the weights at every position.

    Example:
        >>> weights = seeded_weights(InductionSettings(), torch.Generator().manual_seed(0))
        >>> AttentionOnly(weights).logits(torch.zeros(3, 7, dtype=torch.long)).shape
        torch.Size([3, 7, 32])
    """

    def logits(self, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b t v"]:
        """Logits of the next token at every position, which sees those before it and itself."""
        w = self.leaves
        x = embedding(tokens, w["embed.W_E"]) + w["pos_embed.W_pos"][: tokens.shape[1]]
        for layer in range(LAYERS):
            q, k, v = (
                (x @ w[f"blocks.{layer}.attn.W_{name}"])
                .unflatten(-1, (self.n_heads, -1))
                .transpose(1, 2)
                for name in "QKV"
            )
            mixed = scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + mixed.transpose(1, 2).flatten(2) @ w[f"blocks.{layer}.attn.W_O"]
        return x @ w["unembed.W_U"]


def build_attention_only(
    settings: InductionSettings, model_class: ModelClass, weights: Weights
) -> Any:
    """The Transformer as either TransformerLens class, in evaluation mode.

    Args:
        settings: sizes.
        model_class: ``"hooked"`` or ``"bridge"``.
        weights: under TransformerLens names.

    Returns:
        The TransformerLens model; its logits have shape (batch, length, vocabulary).

    Example:
        >>> settings = InductionSettings()
        >>> weights = seeded_weights(settings, torch.Generator().manual_seed(0))
        >>> model = build_attention_only(settings, "bridge", weights)
        >>> model(torch.zeros(3, 7, dtype=torch.long)).shape
        torch.Size([3, 7, 32])
    """
    model = build_transformer(
        model_class,
        n_layers=LAYERS,
        d_model=settings.d_model,
        d_head=settings.d_head,
        n_heads=settings.n_heads,
        n_ctx=settings.length,
        d_vocab=settings.vocabulary,
        d_vocab_out=settings.vocabulary,
        attn_only=True,
        seed=settings.seed,
    )
    load_weights(model, weights)
    return model.eval()
