"""The modular-addition Transformer's logits at its last position, in plain torch, to train with.

Queries, MLP and unembedding are needed at one of the three positions only. The trained weights
are the same for either TransformerLens class.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from tl_entk.experiments.plain_transformer import PlainTransformer

_ATTENTION = "blocks.0.attn.W_"


class LastPosition(PlainTransformer):
    """The function that the weights make at "=".

    Example:
        >>> from tl_entk.experiments.modular_transformer.task import ModularSettings, seeded_start
        >>> start = seeded_start(ModularSettings(p=5))
        >>> LastPosition(start.weights).logits(start.data.tokens).shape
        torch.Size([25, 6])
    """

    def logits(self, tokens: Int[Tensor, "b 3"]) -> Float[Tensor, "b d_vocab"]:
        """Logits at "=", which sees all three positions."""
        w, heads = self.leaves, self.n_heads
        x = embedding(tokens, w["embed.W_E"]) + w["pos_embed.W_pos"]
        last = x[:, -1]
        query = (last @ w[f"{_ATTENTION}Q"]).unflatten(-1, (heads, -1))
        key = (x @ w[f"{_ATTENTION}K"]).unflatten(-1, (heads, -1))
        value = (x @ w[f"{_ATTENTION}V"]).unflatten(-1, (heads, -1))
        scores = (key * query[:, None]).sum(-1, keepdim=True) / query.shape[-1] ** 0.5
        mixed = (scores.softmax(1) * value).sum(1).flatten(1)
        last = last + mixed @ w[f"{_ATTENTION}O"]
        last = last + (last @ w["blocks.0.mlp.W_in"]).relu() @ w["blocks.0.mlp.W_out"]
        return last @ w["unembed.W_U"]
