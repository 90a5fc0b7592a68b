"""Toy models of superposition: the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from feature_sets.errors import UserError
from tl_entk.experiments.settings import Settings, check_counts, check_rates, check_seed

BETAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class SuperpositionSettings(Settings):
    """Settings of a toy model of superposition (arXiv 2510.00468, section 3).

    Attributes:
        m: width of the bottleneck.
        sparsity: S, the probability that a feature is zero.
        seed: of weights and data.
        features: features n. The model has as many inputs and outputs.
        examples: samples N. They are fixed.
        decay: feature i has importance decay^i.
        steps: steps of Adam. Each is on the whole batch.
        learning_rate: of Adam.

    Raises:
        UserError: if a setting is out of its range.
    """

    m: int = 10
    sparsity: float = 0.3
    seed: int = 0
    features: int = 50
    examples: int = 500
    decay: float = 0.8
    steps: int = 5001
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        check_counts(2, m=self.m, features=self.features, examples=self.examples)
        check_counts(1, steps=self.steps)
        check_seed(self.seed)
        check_rates(self)
        if not 0 <= self.sparsity < 1:
            raise UserError(f"sparsity = {self.sparsity}: pass a probability from 0 to below 1.")
        if not 0 < self.decay <= 1:
            raise UserError(f"decay = {self.decay}: pass a factor above 0, up to 1.")

    @property
    def name(self) -> str:
        """What the regime is called in figures and tables."""
        return f"m = {self.m}, S = {self.sparsity:g}"


def paper_regimes(seed: int = 0) -> list[SuperpositionSettings]:
    """The paper's three regimes.

    Example:
        >>> [settings.name for settings in paper_regimes()]
        ['m = 10, S = 0.3', 'm = 10, S = 0.9', 'm = 40, S = 0.9']
    """
    pairs = ((10, 0.3), (10, 0.9), (40, 0.9))
    return [SuperpositionSettings(m=m, sparsity=S, seed=seed) for m, S in pairs]


def check_betas(betas: Sequence[float]) -> None:
    """Refuse exponents that rescale nothing that is meant.

    Raises:
        UserError: unless there is at least one, each from 0 to 1.
    """
    if not betas or not all(0 <= beta <= 1 for beta in betas):
        raise UserError(f"betas = {list(betas)}: pass one or more numbers from 0 to 1.")
