"""The only code that knows a model's class: TransformerLens' two, or a module of one's own."""

from __future__ import annotations

from torch import nn

from feature_sets.errors import UserError
from tl_entk.model.adapters.base import Inputs, ModelAdapter
from tl_entk.model.adapters.bridge import adapt_bridge
from tl_entk.model.adapters.hooked_transformer import adapt_hooked_transformer
from tl_entk.model.adapters.own_module import adapt_own_module
from tl_entk.model.adapters.transformer import TransformerAdapter


def adapt(model: nn.Module) -> ModelAdapter:
    """See a model as sites.

    Args:
        model: a HookedTransformer, a TransformerBridge, or a module of one's own whose weights are
            used by ``nn.Linear``, ``tl_entk.LinearMap`` and ``tl_entk.Bias``; compiled or wrapped
            for data-parallel training too.

    Raises:
        UserError: for anything else.
    """
    model = unwrap(model)
    # by name: HookedTransformer cannot be imported where TransformerLens is 4.x
    classes = {cls.__name__ for cls in type(model).__mro__}
    if "TransformerBridge" in classes:
        return adapt_bridge(model)
    if "HookedTransformer" in classes:
        return adapt_hooked_transformer(model)
    adapter = adapt_own_module(model) if isinstance(model, nn.Module) else None
    if adapter is None:
        kind = type(model).__name__
        raise UserError(
            f"tl_entk needs a HookedTransformer or a TransformerBridge, not a {kind}: "
            "load the model with TransformerLens first, or write your module with nn.Linear, "
            "tl_entk.LinearMap and tl_entk.Bias."
        )
    return adapter


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, where ``torch.compile`` or a data-parallel wrapper holds it.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> unwrap(nn.DataParallel(layer)) is layer
        True
    """
    while True:
        if type(model).__name__ == "OptimizedModule":  # its import takes seconds
            model = model._orig_mod  # type: ignore[assignment]
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def adapt_transformer(
    model: nn.Module, instead: str = "load one with TransformerLens."
) -> TransformerAdapter:
    """See a TransformerLens model as sites.

    Args:
        model: a HookedTransformer or a TransformerBridge.
        instead: what a message says to do with another model.

    Raises:
        UserError: for a module of one's own, or anything else.
    """
    adapter = adapt(model)
    if not isinstance(adapter, TransformerAdapter):
        raise UserError(
            f"this needs a TransformerLens model, and {adapter.model_name} is a module of your "
            f"own: {instead}"
        )
    return adapter


__all__ = ["Inputs", "ModelAdapter", "TransformerAdapter", "adapt", "adapt_transformer", "unwrap"]
