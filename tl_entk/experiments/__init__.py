"""Experiments: one setting each, thin wiring of model, data and analysis."""

from tl_entk.experiments.modular_addition import ModularData, ModularSettings, modular_data
from tl_entk.experiments.modular_model import build_model

__all__ = ["ModularData", "ModularSettings", "build_model", "modular_data"]
