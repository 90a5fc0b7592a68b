"""Experiments: one setting each, thin wiring of model, data and analysis.

May import: everything but report and commands.
"""

from tl_entk.experiments.modular_transformer.model import build_model
from tl_entk.experiments.modular_transformer.task import ModularData, ModularSettings, modular_data

__all__ = ["ModularData", "ModularSettings", "build_model", "modular_data"]
