"""Modular addition for the Transformer: the settings, and the folders they go by."""

from __future__ import annotations

from dataclasses import dataclass

from feature_sets.errors import UserError
from tl_entk.experiments.settings import (
    Settings,
    check_addition,
    check_counts,
    check_rates,
    check_seed,
    settings_name,
)
from tl_entk.model.classes import ModelClass


@dataclass(frozen=True)
class ModularSettings(Settings):
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
        check_addition(self.p, self.train_fraction)
        check_counts(1, d_model=self.d_model, n_heads=self.n_heads, d_mlp=self.d_mlp)
        check_counts(1, epochs=self.epochs, batch_size=self.batch_size)
        check_seed(self.seed)
        check_rates(self)
        if self.d_model % self.n_heads:
            raise UserError(
                f"d_model = {self.d_model} is not a multiple of n_heads = {self.n_heads}; "
                "choose sizes that divide."
            )

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads


def run_name(settings: ModularSettings, model_class: ModelClass) -> str:
    """A folder name that two runs share only if every setting is the same.

    Example:
        >>> run_name(ModularSettings(seed=3), "bridge")
        'bridge-seed3-p29-epochs4000'
        >>> run_name(ModularSettings(d_mlp=128), "hooked")
        'hooked-seed2-p29-epochs4000-d_mlp128'
    """
    return settings_name(model_class, settings, ("seed", "p", "epochs"))
