"""Ground-truth and interpretable features to compare directions with."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from feature_sets.feature_set import FeatureSet
from feature_sets.fourier import fourier

if TYPE_CHECKING:
    from feature_sets.grammar import grammar
    from feature_sets.pipelines import load_pipeline
    from feature_sets.selection import select_labels
    from feature_sets.texts import read_texts
    from feature_sets.windows import Windows, context_windows

__all__ = [
    "FeatureSet",
    "Windows",
    "context_windows",
    "fourier",
    "grammar",
    "load_pipeline",
    "read_texts",
    "select_labels",
]

# imported when first asked for: what they need is slow to import
_MODULE_OF = {
    "Windows": "windows",
    "context_windows": "windows",
    "grammar": "grammar",
    "load_pipeline": "pipelines",
    "read_texts": "texts",
    "select_labels": "selection",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """This package, whose public names stay what they are.

    The import system binds a submodule to its name in the package; where a function has the
    same name (grammar), the function is bound instead.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _MODULE_OF and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
