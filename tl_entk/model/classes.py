"""TransformerLens' two classes of a model, and which of them the installed version has."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

# HookedTransformer (TransformerLens 3.x), TransformerBridge (3.9 and 4.x)
ModelClass = Literal["hooked", "bridge"]


def has_hooked_transformer() -> bool:
    """Whether the installed TransformerLens still has HookedTransformer."""
    return version("transformer_lens").startswith("3.")


def default_model_class() -> ModelClass:
    """HookedTransformer where TransformerLens still has it, else the bridge.

    Example:
        >>> default_model_class() == ("hooked" if has_hooked_transformer() else "bridge")
        True
    """
    return "hooked" if has_hooked_transformer() else "bridge"
