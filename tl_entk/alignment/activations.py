"""Activations of a language model at one position: what PCA and probes are given."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.model.adapters import ModelAdapter, adapt_transformer
from tl_entk.model.capture import reading
from tl_entk.model.checks import Position, check_model, check_position
from tl_entk.tools.values import check_at_least, read_list


@overload
def activations_at(
    model: Any, tokens: Tensor, hook: str, position: Position = -1, *, batch_size: int = 128
) -> Tensor: ...


@overload
def activations_at(
    model: Any,
    tokens: Tensor,
    hook: Sequence[str],
    position: Position = -1,
    *,
    batch_size: int = 128,
) -> dict[str, Tensor]: ...


def activations_at(
    model: Any,
    tokens: Int[Tensor, "n t"],
    hook: str | Sequence[str],
    position: Position = -1,
    *,
    batch_size: int = 128,
) -> Float[Tensor, "n d"] | dict[str, Float[Tensor, "n d"]]:
    """Activations of a hook point at one position, heads and neurons flattened.

    Args:
        model: a TransformerLens model.
        tokens: (n, t).
        hook: TransformerLens name, for example "blocks.0.hook_resid_post", or several, which are
            then read in the same forward passes.
        position: which position, or one per example.
        batch_size: examples per forward pass.

    Returns:
        (n, d), or hook to (n, d) for several hooks.

    Raises:
        UserError: if the model has no such hook, it does not fire, or its activations are not
            laid out (examples, positions, ...).

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> activations_at(model, data.tokens, "blocks.0.hook_resid_post").shape
        torch.Size([25, 64])
    """
    adapter = adapt_transformer(
        model, "take its activations yourself, and pass them on as a tensor (n, d)."
    )
    check_model(adapter)
    tokens = adapter.check_tokens(tokens)
    positions = check_position(position, *tokens.shape)
    check_at_least("batch_size", batch_size)
    hooks = [hook] if isinstance(hook, str) else read_list("hook", hook, "names")
    if not hooks:
        raise UserError("there is no hook: pass a name, or a list of one or more.")
    for name in hooks:
        _check_hook(model, name)
    parts = [
        _read_batch(adapter, tokens[rows], hooks, positions[rows])
        for rows in torch.arange(len(tokens)).split(batch_size)
    ]
    found = {name: torch.cat([part[name] for part in parts]) for name in hooks}
    return found[hook] if isinstance(hook, str) else found


# laid out (examples, heads, positions, ...)
_BY_HEAD = frozenset({"hook_pattern", "hook_attn_scores", "q_norm", "k_norm"})


def _check_hook(model: Any, hook: str) -> None:
    if not isinstance(hook, str):
        raise UserError(f"there is no hook {hook!r}: pass names.")
    if hook not in model.hook_dict:
        near = [name for name in model.hook_dict if name.split(".")[-1] == hook.split(".")[-1]]
        raise UserError(f"no hook {hook!r}; like it: {near[:4] or list(model.hook_dict)[:4]}.")
    if _BY_HEAD.intersection(hook.split(".")):
        raise UserError(
            f"hook {hook!r} has heads before positions: choose one whose activations are "
            "(examples, positions, ...), such as hook_z."
        )


def _read_batch(
    adapter: ModelAdapter,
    tokens: Int[Tensor, "b t"],
    hooks: Sequence[str],
    positions: Int[Tensor, " b"],
) -> dict[str, Float[Tensor, "b d"]]:
    # all but the read position's logits would be thrown away
    whole = contextlib.nullcontext()
    cut = (
        whole
        if any(hook.startswith("unembed") for hook in hooks)
        else reading([], adapter.final_hidden, positions.to(tokens.device), len(tokens))
    )
    model: Any = adapter.model
    with torch.no_grad(), cut:
        _, cache = model.run_with_cache(tokens, names_filter=list(hooks))
    return {hook: select_positions(cache, hook, tokens, positions) for hook in hooks}


def select_positions(
    cache: Any, hook: str, tokens: Tensor, positions: Tensor
) -> Float[Tensor, "b d"]:
    """What a cache has of a hook at one position of every example, heads flattened.

    Raises:
        UserError: if the hook did not fire, or has other axes.
    """
    if hook not in cache:
        raise UserError(f"hook {hook!r} did not fire: choose another, or switch it on.")
    value = cache[hook]
    if value.shape[:2] != tokens.shape:
        raise UserError(
            f"hook {hook!r} has shape {tuple(value.shape)}: choose one whose activations are "
            "(examples, positions, ...)."
        )
    return value[torch.arange(len(tokens)), positions].flatten(1)
