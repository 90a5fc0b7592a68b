"""Addition modulo p, the task of the modular Transformer and MLP: all pairs and their split."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from tl_entk.experiments.settings import count_training


@dataclass(frozen=True, eq=False)
class Additions:
    """All p^2 pairs (a, b), in the order n = a p + b, their sums, and the split of their indices.

    Attributes:
        a: (p^2,) first summand of every example.
        b: (p^2,) second summand.
        labels: (p^2,) (a + b) mod p.
        train: indices of the training part.
        test: indices of the rest.
    """

    a: Int[Tensor, " n"]
    b: Int[Tensor, " n"]
    labels: Int[Tensor, " n"]
    train: Int[Tensor, " n_train"]
    test: Int[Tensor, " n_test"]


def split_additions(p: int, train_fraction: float, generator: torch.Generator) -> Additions:
    """All pairs with their labels; the split is the one draw taken from the generator.

    Args:
        p: modulus.
        train_fraction: share of the pairs to train on.
        generator: the random stream of the experiment's seed.

    Example:
        >>> data = split_additions(5, 0.6, torch.Generator().manual_seed(0))
        >>> int(data.a[7]), int(data.b[7]), int(data.labels[7]), len(data.train), len(data.test)
        (1, 2, 3, 15, 10)
    """
    a, b = torch.arange(p).repeat_interleave(p), torch.arange(p).repeat(p)
    order = torch.randperm(p * p, generator=generator)
    n_train = count_training(p, train_fraction)
    return Additions(a, b, (a + b) % p, order[:n_train], order[n_train:])
