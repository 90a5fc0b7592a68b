"""The modular-addition Transformer's logits at its last position, in plain torch, to train with.

A step of training takes a quarter of the time that it takes through TransformerLens' hooks, and
queries, MLP and unembedding are needed at one of the three positions only. The trained weights
are the same for either TransformerLens class.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from tl_entk.experiments.modular_transformer.task import Weights

_ATTENTION = "blocks.0.attn.W_"


class LastPosition:
    """The weights as leaves of the graph, heads beside each other, and the function they make.

    Args:
        weights: under TransformerLens names, in HookedTransformer's layout; they are copied.
        device: where to compute.

    Example:
        >>> from tl_entk.experiments.modular_transformer.task import ModularSettings, seeded_start
        >>> start = seeded_start(ModularSettings(p=5))
        >>> LastPosition(start.weights).logits(start.data.tokens).shape
        torch.Size([25, 6])
    """

    def __init__(self, weights: Weights, device: str = "cpu") -> None:
        self.n_heads = len(weights[f"{_ATTENTION}Q"])
        self.leaves: dict[str, Tensor] = {}
        self.load(weights, device)

    @property
    def parameters(self) -> list[Tensor]:
        """What an optimizer changes."""
        return list(self.leaves.values())

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

    def weights(self) -> Weights:
        """The weights in HookedTransformer's layout (copies)."""
        return {
            name: self._by_head(name, leaf.detach()).clone() for name, leaf in self.leaves.items()
        }

    def load(self, weights: Weights, device: str = "cpu") -> None:
        """Take other weights, as new leaves."""
        self.leaves = {
            name: self._side_by_side(name, weight).to(device).clone().requires_grad_()
            for name, weight in weights.items()
        }

    def _by_head(self, name: str, leaf: Tensor) -> Tensor:
        if not name.startswith(_ATTENTION):
            return leaf
        if name.endswith("O"):
            return leaf.unflatten(0, (self.n_heads, -1))
        return leaf.unflatten(1, (self.n_heads, -1)).transpose(0, 1)

    def _side_by_side(self, name: str, weight: Tensor) -> Tensor:
        if not name.startswith(_ATTENTION):
            return weight
        return weight.flatten(0, 1) if name.endswith("O") else weight.transpose(0, 1).flatten(1)
