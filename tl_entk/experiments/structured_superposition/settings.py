"""Superposition with structure: the settings."""

from __future__ import annotations

from dataclasses import dataclass

from feature_sets.structures import Structure, check_sparsity, feature_kinds
from tl_entk.experiments.superposition.settings import SuperpositionSettings


@dataclass(frozen=True)
class StructureSettings(SuperpositionSettings):
    """Settings of a toy model of superposition with structured features.

    All features are of the same importance, so that nothing but their structure sets them apart.
    60 features make whole families of any size, and no number of families, parts or children is
    near the width of the bottleneck.

    Attributes:
        m: width of the bottleneck.
        sparsity: S; most features are zero with this probability.
        seed: of weights and data.
        features: features n, in whole families. The model has as many inputs and outputs.
        examples: samples N. They are fixed.
        decay: feature i has importance decay^i.
        steps: steps of Adam. Each is on the whole batch.
        learning_rate: of Adam.
        structure: how the features hang together.

    Raises:
        UserError: if a setting is out of its range.
    """

    m: int = 16
    sparsity: float = 0.9
    features: int = 60
    examples: int = 600
    decay: float = 1.0
    structure: Structure = "independent"

    def __post_init__(self) -> None:
        super().__post_init__()
        feature_kinds(self.features, self.structure)
        check_sparsity(self.sparsity, self.structure)

    @property
    def name(self) -> str:
        """What the structure is called in figures and tables."""
        return self.structure

    @property
    def kinds(self) -> list[str]:
        """What each feature is."""
        return feature_kinds(self.features, self.structure)
