"""A Transformer's weights in plain torch, to train with.

A step of training takes a quarter of the time that it takes through TransformerLens' hooks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor

Weights = dict[str, Float[Tensor, "..."]]


class PlainTransformer(ABC):
    """Weights as leaves of the graph, the heads of a block beside each other.

    Args:
        weights: under TransformerLens names, in HookedTransformer's layout; they are copied.
        device: where to compute.
    """

    def __init__(self, weights: Weights, device: str = "cpu") -> None:
        self.n_heads = len(next(w for name, w in weights.items() if _is_attention(name)))
        self.leaves: dict[str, Tensor] = {}
        self.load(weights, device)

    @property
    def parameters(self) -> list[Tensor]:
        """What an optimizer changes."""
        return list(self.leaves.values())

    @abstractmethod
    def logits(self, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b ..."]:
        """Logits at the positions that are trained on."""

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
        if not _is_attention(name):
            return leaf
        if name.endswith("O"):
            return leaf.unflatten(0, (self.n_heads, -1))
        return leaf.unflatten(1, (self.n_heads, -1)).transpose(0, 1)

    def _side_by_side(self, name: str, weight: Tensor) -> Tensor:
        if not _is_attention(name):
            return weight
        return weight.flatten(0, 1) if name.endswith("O") else weight.transpose(0, 1).flatten(1)


def _is_attention(name: str) -> bool:
    return ".attn.W_" in name
