"""The 1-layer modular-addition Transformer as either TransformerLens class.

Weights are kept under TransformerLens names and in HookedTransformer's layout, so that one
checkpoint loads into both classes. The model has no LayerNorm and no biases.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.experiments.modular_transformer.task import (
    ModelClass,
    ModularSettings,
    Weights,
    seeded_start,
)
from tl_entk.model.adapters import adapt


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
    common = dict(
        n_layers=1,
        d_model=settings.d_model,
        d_head=settings.d_head,
        n_heads=settings.n_heads,
        d_mlp=settings.d_mlp,
        n_ctx=3,
        d_vocab=settings.p + 1,
        d_vocab_out=settings.p + 1,
        act_fn="relu",
        normalization_type=None,
        seed=settings.seed,
    )
    model = _build_hooked(common) if model_class == "hooked" else _build_bridge(common)
    load_weights(model, seeded_start(settings).weights if weights is None else weights)
    return model.eval()


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
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[2].startswith("b_"):
            nn.init.zeros_(parameter).requires_grad_(False)
    return model


def _build_bridge(common: dict[str, Any]) -> nn.Module:
    # importing the native source is what gives TransformerBridge its boot_native
    import transformer_lens.model_bridge.sources.native  # noqa: F401
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_native(TransformerBridgeConfig(**common))  # type: ignore[attr-defined]
    for module in model.modules():
        if isinstance(module, nn.Linear) and module._parameters.get("bias") is not None:
            module.register_parameter("bias", None)
    return model


def _to_linear(name: str, weight: Tensor) -> Tensor:
    """HookedTransformer's layout to that of nn.Linear ([out, in]) or nn.Embedding."""
    match name.rpartition(".")[2]:
        case "W_E" | "W_pos":
            return weight
        case "W_Q" | "W_K" | "W_V":
            return weight.permute(0, 2, 1).flatten(0, 1)
        case "W_O":
            return weight.flatten(0, 1).T
        case _:
            return weight.T


def _from_linear(name: str, weight: Tensor, n_heads: int) -> Tensor:
    """Inverse of :func:`_to_linear`."""
    match name.rpartition(".")[2]:
        case "W_E" | "W_pos":
            return weight
        case "W_Q" | "W_K" | "W_V":
            return weight.unflatten(0, (n_heads, -1)).permute(0, 2, 1)
        case "W_O":
            return weight.T.unflatten(0, (n_heads, -1))
        case _:
            return weight.T


def load_weights(model: Any, weights: Weights) -> None:
    """Copy weights under TransformerLens names into a model of either class, in place."""
    adapter = adapt(model)
    is_bridge = adapter.model_class == "TransformerBridge"
    with torch.no_grad():
        for name, weight in weights.items():
            parameter = adapter.by_name[name].parameter
            parameter.copy_(_to_linear(name, weight) if is_bridge else weight)


def weights_of(model: Any) -> Weights:
    """The model's weights under TransformerLens names, in HookedTransformer's layout (copies)."""
    adapter = adapt(model)
    is_bridge = adapter.model_class == "TransformerBridge"
    weights = {s.name: s.parameter.detach() for s in adapter.sites if s.kind != "bias"}
    return {
        name: (_from_linear(name, w, model.cfg.n_heads) if is_bridge else w).clone()
        for name, w in weights.items()
    }
