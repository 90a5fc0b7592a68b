"""Modular addition by an MLP with squared activations: the settings."""

from __future__ import annotations

from dataclasses import dataclass

from tl_entk.experiments.settings import (
    Settings,
    check_addition,
    check_counts,
    check_rates,
    check_seed,
)


@dataclass(frozen=True)
class MLPSettings(Settings):
    """Settings of the modular-addition MLP (arXiv 2510.00468, v2 section 4 and v4 section 3).

    Attributes:
        seed: seed of weights and split.
        p: modulus.
        n: hidden units; 64 is the paper's narrow model.
        train_fraction: share of the pairs to train on.
        learning_rate: AdamW.
        weight_decay: AdamW.
        epochs: full-batch steps.

    Raises:
        UserError: if a setting is out of its range.
    """

    seed: int = 0
    p: int = 29
    n: int = 512
    train_fraction: float = 0.7
    learning_rate: float = 0.05
    weight_decay: float = 0.01
    epochs: int = 500

    def __post_init__(self) -> None:
        check_addition(self.p, self.train_fraction, least=2)
        check_counts(1, n=self.n)
        # a course has records
        check_counts(10, epochs=self.epochs)
        check_seed(self.seed)
        check_rates(self)

    @property
    def cliff(self) -> int:
        """4 floor(p / 2): a cosine and a sine of every frequency, for two families."""
        return 4 * (self.p // 2)
