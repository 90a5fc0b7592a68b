"""Experiments: one setting each, thin wiring of model, data and analysis.

May import: everything but report and commands.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tl_entk.experiments.modular_transformer.model import build_model
    from tl_entk.experiments.modular_transformer.settings import ModularSettings
    from tl_entk.experiments.modular_transformer.task import ModularData, modular_data

# imported when first asked for: the command line reads settings without torch
_MODULE_OF = {
    "ModularData": "task",
    "ModularSettings": "settings",
    "build_model": "model",
    "modular_data": "task",
}

__all__ = ["ModularData", "ModularSettings", "build_model", "modular_data"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.modular_transformer.{_MODULE_OF[name]}"), name)
