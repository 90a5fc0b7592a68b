"""Baselines that every result stands beside: PCA of activations and random directions."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, overload

import torch
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.model.adapters import ModelAdapter, adapt
from tl_entk.model.capture import reading
from tl_entk.model.checks import Position, check_model, check_position, check_tokens


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
    adapter = _adapt_hooked(model)
    check_model(adapter)
    tokens = check_tokens(adapter, tokens)
    positions = check_position(position, *tokens.shape)
    hooks = [hook] if isinstance(hook, str) else list(hook)
    for name in hooks:
        _check_hook(model, name)
    parts = [
        _read_batch(adapter, tokens[rows], hooks, positions[rows])
        for rows in torch.arange(len(tokens)).split(batch_size)
    ]
    found = {name: torch.cat([part[name] for part in parts]) for name in hooks}
    return found[hook] if isinstance(hook, str) else found


def _adapt_hooked(model: Any) -> ModelAdapter:
    """Adapter of a model that has TransformerLens' hooks.

    Raises:
        UserError: for a module of one's own.
    """
    adapter = adapt(model)
    if adapter.unembed_input is None:
        raise UserError(
            f"{adapter.model_name} has no TransformerLens hooks: take the activations of a module "
            "of your own yourself, and hand them on as a tensor (n, d)."
        )
    return adapter


# laid out (examples, heads, positions, ...)
_BY_HEAD = frozenset({"hook_pattern", "hook_attn_scores", "q_norm", "k_norm"})


def _check_hook(model: Any, hook: str) -> None:
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
        else reading([], adapter.unembed_input, positions.to(tokens.device), len(tokens))
    )
    model: Any = adapter.model
    with torch.no_grad(), cut:
        _, cache = model.run_with_cache(tokens, names_filter=list(hooks))
    return {hook: _select_positions(cache, hook, tokens, positions) for hook in hooks}


def _select_positions(
    cache: Any, hook: str, tokens: Tensor, positions: Tensor
) -> Float[Tensor, "b d"]:
    if hook not in cache:
        raise UserError(f"hook {hook!r} did not fire: choose another, or switch it on.")
    value = cache[hook]
    if value.shape[:2] != tokens.shape:
        raise UserError(
            f"hook {hook!r} has shape {tuple(value.shape)}: choose one whose activations are "
            "(examples, positions, ...)."
        )
    return value[torch.arange(len(tokens)), positions].flatten(1)


def pca_scores(activations: Float[Tensor, "n d"], k: int) -> Float[Tensor, "n k"]:
    """Scores of the top k principal components of the centered activations (scikit-learn).

    Raises:
        UserError: if k is larger than the number of components there are.

    Example:
        >>> pca_scores(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.1]]), 1).shape
        torch.Size([3, 1])
    """
    n, d = activations.shape
    if not 1 <= k <= min(n, d):
        raise UserError(f"k = {k}: {n} examples of width {d} have 1 to {min(n, d)} components.")
    scores = PCA(n_components=k, svd_solver="full").fit_transform(
        activations.detach().cpu().double().numpy()
    )
    return torch.from_numpy(scores)


def random_directions(n: int, k: int, seed: int = 0) -> Float[Tensor, "n k"]:
    """K orthonormal random directions over n examples: the floor.

    Raises:
        UserError: if k > n.

    Example:
        >>> random_directions(5, 2).shape
        torch.Size([5, 2])
    """
    if not 1 <= k <= n:
        raise UserError(f"k = {k}: pass 1 to {n} directions over {n} examples.")
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(n, k, generator=generator, dtype=torch.float64))
    return basis
