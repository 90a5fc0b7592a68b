"""The only code that knows a TransformerLens class: a model of either class becomes sites."""

from __future__ import annotations

from torch import nn

from tl_entk.adapters.base import ModelAdapter
from tl_entk.adapters.bridge import adapt_bridge
from tl_entk.adapters.hooked_transformer import adapt_hooked_transformer


def adapt(model: nn.Module) -> ModelAdapter:
    """See a TransformerLens model as sites.

    Raises:
        TypeError: for anything but a HookedTransformer or a TransformerBridge.
    """
    # by name: HookedTransformer cannot be imported where TransformerLens is 4.x
    classes = {cls.__name__ for cls in type(model).__mro__}
    if "TransformerBridge" in classes:
        return adapt_bridge(model)
    if "HookedTransformer" in classes:
        return adapt_hooked_transformer(model)
    raise TypeError(
        f"tl_entk needs a HookedTransformer or a TransformerBridge, not {type(model).__name__}: "
        "load the model with TransformerLens first."
    )


__all__ = ["ModelAdapter", "adapt"]
