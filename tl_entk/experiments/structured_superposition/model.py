"""Superposition with structure: samples and model of a seed, and its training."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.structured_features import structured_features
from tl_entk.experiments.structured_superposition.settings import StructureSettings
from tl_entk.experiments.superposition.model import ToyModel, untrained_toy_model


def seeded_structured_model(
    settings: StructureSettings,
) -> tuple[ToyModel, Float[Tensor, "N n"]]:
    """The untrained model and the samples of a seed; its stream gives the samples first.

    Example:
        >>> settings = StructureSettings(m=2, features=6, examples=4, structure="sums")
        >>> model, x = seeded_structured_model(settings)
        >>> model(x).shape
        torch.Size([4, 6])
    """
    generator = torch.Generator().manual_seed(settings.seed)
    x = structured_features(
        settings.examples, settings.features, settings.sparsity, settings.structure, generator
    )
    return untrained_toy_model(settings, generator), x
