"""The 1-layer modular-addition Transformer as either TransformerLens class.

Weights are kept under TransformerLens names and in HookedTransformer's layout, so that one
checkpoint loads into both classes. The model has no LayerNorm and no biases.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from feature_sets.errors import UserError
from tl_entk.experiments.modular_transformer.settings import ModularSettings
from tl_entk.experiments.modular_transformer.task import seeded_start
from tl_entk.experiments.native_bridge import boot_native_bridge
from tl_entk.experiments.plain_transformer import Weights
from tl_entk.model.adapters import adapt
from tl_entk.model.classes import ModelClass
from tl_entk.weight_space.layout import from_parameter, to_parameter


def build_model(
    settings: ModularSettings,
    model_class: ModelClass = "bridge",
    weights: Weights | None = None,
) -> Any:
    """A modular-addition Transformer in evaluation mode.

    Args:
        settings: sizes and seed.
        model_class: ``"hooked"`` (HookedTransformer, TransformerLens 3.9) or ``"bridge"``
            (native TransformerBridge, TransformerLens 3.9 and 4.x).
        weights: weights under TransformerLens names; default the seeded initial ones.

    Returns:
        The TransformerLens model; its logits have shape (batch, 3, p + 1).

    Raises:
        UserError: for ``"hooked"`` where TransformerLens has no HookedTransformer any more.

    Example:
        >>> import torch
        >>> model = build_model(ModularSettings(p=5))
        >>> model(torch.tensor([[1, 2, 5]])).shape
        torch.Size([1, 3, 6])
    """
    model = build_transformer(
        model_class,
        n_layers=1,
        d_model=settings.d_model,
        d_head=settings.d_head,
        n_heads=settings.n_heads,
        d_mlp=settings.d_mlp,
        n_ctx=3,
        d_vocab=settings.p + 1,
        d_vocab_out=settings.p + 1,
        seed=settings.seed,
    )
    load_weights(model, seeded_start(settings).weights if weights is None else weights)
    return model.eval()


def build_transformer(model_class: ModelClass, **sizes: Any) -> Any:
    """A Transformer of these sizes as either class: ReLU, no LayerNorm, no biases.

    Args:
        model_class: ``"hooked"`` or ``"bridge"``.
        sizes: of the configuration that both classes share; its weights are to be loaded.

    Raises:
        UserError: for ``"hooked"`` where TransformerLens has no HookedTransformer any more.

    Example:
        >>> sizes = dict(n_layers=2, d_model=8, d_head=4, n_heads=2, n_ctx=5, d_vocab=7)
        >>> model = build_transformer("bridge", **sizes, d_vocab_out=7, attn_only=True, seed=0)
        >>> len(model.blocks)
        2
    """
    common = dict(sizes, act_fn="relu", normalization_type=None)
    return _build_hooked(common) if model_class == "hooked" else _build_bridge(common)


def _build_hooked(common: dict[str, Any]) -> nn.Module:
    try:
        from transformer_lens import HookedTransformer, HookedTransformerConfig
    except ImportError as error:
        raise UserError(
            "this TransformerLens has no HookedTransformer (it was removed in 4.0): "
            'use model_class="bridge", or install transformer_lens==3.9.0.'
        ) from error
    model = HookedTransformer(
        HookedTransformerConfig(**common, device="cpu", init_weights=False, dtype=torch.float32)
    )
    for site in adapt(model).sites:
        if site.kind == "bias":
            nn.init.zeros_(site.parameter).requires_grad_(False)
    return model


def _build_bridge(common: dict[str, Any]) -> nn.Module:
    model = boot_native_bridge(**common)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module._parameters.get("bias") is not None:
            module.register_parameter("bias", None)
    return model


def load_weights(model: Any, weights: Weights) -> None:
    """Copy weights under TransformerLens names into a model of either class, in place."""
    sites = adapt(model).by_name
    with torch.no_grad():
        for name, weight in weights.items():
            sites[name].parameter.copy_(to_parameter(sites[name], weight))


def weights_of(model: Any) -> Weights:
    """The model's weights under TransformerLens names, in HookedTransformer's layout (copies)."""
    return {
        site.name: from_parameter(site).clone()
        for site in adapt(model).sites
        if site.kind != "bias"
    }
