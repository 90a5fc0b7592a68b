"""Modular addition for the Transformer: the pairs as token sequences (a, b, =)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from tl_entk.experiments.modular_addition import Additions, split_additions
from tl_entk.experiments.modular_transformer.settings import ModularSettings
from tl_entk.experiments.plain_transformer import Weights


@dataclass(frozen=True, eq=False)
class ModularData(Additions):
    """All p^2 pairs, their labels and their split, and the pairs as the Transformer reads them.

    Attributes:
        tokens: (p^2, 3), (a, b, =); "=" is token p.
    """

    tokens: Int[Tensor, "n 3"]


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
    pairs = split_additions(settings.p, settings.train_fraction, generator)
    equals = torch.full_like(pairs.a, settings.p)
    data = ModularData(**vars(pairs), tokens=torch.stack([pairs.a, pairs.b, equals], dim=1))
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
