"""Ground-truth and interpretable features to compare directions with."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet

# bound here for good, as a submodule that is first imported later takes its name in the package
from feature_sets.fourier import fourier
from feature_sets.grammar import grammar

if TYPE_CHECKING:
    from feature_sets.balanced_windows import context_windows
    from feature_sets.context import context_labels
    from feature_sets.pipelines import load_pipeline
    from feature_sets.selection import select_labels
    from feature_sets.texts import read_texts
    from feature_sets.windows import Windows

__all__ = [
    "FeatureSet",
    "UserError",
    "Windows",
    "context_labels",
    "context_windows",
    "fourier",
    "grammar",
    "load_pipeline",
    "read_texts",
    "select_labels",
]

# imported when first asked for: what they need (torch, spaCy) is slow to import
_MODULE_OF = {
    "Windows": "windows",
    "context_labels": "context",
    "context_windows": "balanced_windows",
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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
