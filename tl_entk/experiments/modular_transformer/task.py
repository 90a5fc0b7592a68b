"""Modular addition as a task: the settings, the data and its split.

The inputs are all p^2 pairs (a, b) as token sequences (a, b, =), the label is (a + b) mod p.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.model.adapters.classes import ModelClass as ModelClass

Weights = dict[str, Float[Tensor, "..."]]


@dataclass(frozen=True)
class ModularSettings:
    """Settings of the 1-layer modular-addition Transformer (arXiv 2510.00468, section 4).

    The defaults are the paper's. ``epochs`` counts passes over the training half; the seed
    fixes the weights, the split and the order of the batches, whatever the model class.

    Attributes:
        seed: seed of weights, split and batches.
        p: modulus.
        d_model: residual width.
        n_heads: attention heads.
        d_mlp: MLP width.
        train_fraction: share of the pairs to train on.
        batch_size: examples per step.
        learning_rate: AdamW.
        weight_decay: AdamW.
        epochs: passes over the training part.

    Raises:
        UserError: if a setting is out of its range.
    """

    seed: int = 2
    p: int = 29
    d_model: int = 64
    n_heads: int = 4
    d_mlp: int = 256
    train_fraction: float = 0.5
    batch_size: int = 64
    learning_rate: float = 3e-4
    weight_decay: float = 1.0
    epochs: int = 4000

    def __post_init__(self) -> None:
        if self.p < 5 or self.p % 2 == 0:
            raise UserError(
                f"p = {self.p}: pass an odd number from 5 on (key frequencies stand out from "
                "others, and each has a cosine and a sine)."
            )
        if min(self.n_heads, self.d_model, self.d_mlp, self.epochs, self.batch_size) < 1:
            raise UserError("sizes, epochs and batch_size count from 1; pass positive numbers.")
        if self.seed < 0:
            raise UserError(f"seed = {self.seed}: pass a number from 0 on.")
        if self.d_model % self.n_heads:
            raise UserError(
                f"d_model = {self.d_model} is not a multiple of n_heads = {self.n_heads}; "
                "choose sizes that divide."
            )
        if not 0 < self.train_fraction < 1:
            raise UserError(
                f"train_fraction = {self.train_fraction} leaves one half empty; pass 0 < x < 1."
            )

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads

    def as_dict(self) -> dict[str, int | float]:
        """The settings as plain JSON values."""
        return asdict(self)


class ModularData(NamedTuple):
    """All p^2 examples, in the order n = a * p + b, and the split of their indices."""

    tokens: Int[Tensor, "n 3"]
    labels: Int[Tensor, " n"]
    train: Int[Tensor, " n_train"]
    test: Int[Tensor, " n_test"]

    @property
    def a(self) -> Int[Tensor, " n"]:
        """First summand of every example."""
        return self.tokens[:, 0]

    @property
    def b(self) -> Int[Tensor, " n"]:
        """Second summand of every example."""
        return self.tokens[:, 1]


class SeededStart(NamedTuple):
    """Everything a seed fixes before training, and the generator that the batches go on with."""

    weights: Weights
    data: ModularData
    generator: torch.Generator


def seeded_start(settings: ModularSettings) -> SeededStart:
    """Initial weights and data of a seed, the same for both model classes.

    The random stream is the one of ``torch.manual_seed(seed)``, building a HookedTransformer
    (whose own initialization takes a first draw of every weight), drawing normal weights in the
    order of its parameters with the paper's standard deviations, then the split, then the batches.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in range(2):
        weights = {
            name: torch.empty(shape).normal_(0, fan**-0.5, generator=generator)
            for name, (shape, fan) in _weight_shapes(settings).items()
        }
    p = settings.p
    a = torch.arange(p).repeat_interleave(p)
    b = torch.arange(p).repeat(p)
    tokens = torch.stack([a, b, torch.full_like(a, p)], dim=1)
    order = torch.randperm(p * p, generator=generator)
    n_train = max(1, int(settings.train_fraction * p * p))
    data = ModularData(tokens, (a + b) % p, order[:n_train], order[n_train:])
    return SeededStart(weights, data, generator)


def _weight_shapes(settings: ModularSettings) -> dict[str, tuple[tuple[int, ...], int]]:
    """Shape of every weight, and the inverse square of its standard deviation."""
    d, heads, d_head, d_mlp = settings.d_model, settings.n_heads, settings.d_head, settings.d_mlp
    d_vocab = settings.p + 1
    return {
        "embed.W_E": ((d_vocab, d), d),
        "pos_embed.W_pos": ((3, d), d),
        "blocks.0.attn.W_Q": ((heads, d, d_head), d),
        "blocks.0.attn.W_O": ((heads, d_head, d), d),
        "blocks.0.attn.W_K": ((heads, d, d_head), d),
        "blocks.0.attn.W_V": ((heads, d, d_head), d),
        "blocks.0.mlp.W_in": ((d, d_mlp), d_mlp),
        "blocks.0.mlp.W_out": ((d_mlp, d), d),
        "unembed.W_U": ((d, d_vocab), d_vocab),
    }


def modular_data(settings: ModularSettings) -> ModularData:
    """All pairs (a, b) as tokens (a, b, =) with their labels and the seeded split.

    Args:
        settings: the task; ``=`` is token p.

    Returns:
        Tokens (p^2, 3), labels (p^2,), and indices of the training and the test part.

    Example:
        >>> data = modular_data(ModularSettings(p=5))
        >>> data.tokens[7].tolist(), data.labels[7].item()
        ([1, 2, 5], 3)
    """
    return seeded_start(settings).data
