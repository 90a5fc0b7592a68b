"""Models with their weights moved along a direction, or without it, for as long as one looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.adapters import TransformerAdapter, adapt_transformer
from tl_entk.model.sites import EMBEDDING, UNEMBEDDING, Site
from tl_entk.tools.values import check_at_least, check_kind, is_number
from tl_entk.weight_space.directions import WeightDirection
from tl_entk.weight_space.layout import from_parameter, to_parameter, to_wholes, weight_of

Change = WeightDirection | Mapping[str, Float[Tensor, " ..."]]


@contextmanager
def nudge(model: nn.Module, direction: Change, step: float) -> Iterator[nn.Module]:
    """Inside, the weights are W + step u; after, the very tensors of before are back.

    Args:
        model: a HookedTransformer or a TransformerBridge.
        direction: one of :func:`weight_directions`, or component to a change of its own, in
            TransformerLens' shape.
        step: in units of the weights: u has norm 1.

    Yields:
        The model.

    Raises:
        UserError: for a direction of other weights, a step that is no finite number, and an
            embedding that is the unembedding too.

    Source: this project; the first-order change is J u = sqrt(lambda) v.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> from tl_entk.operator.top_directions import top_eigendirections
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> eigen = top_eigendirections(model, data.tokens, "blocks.0.mlp.W_out", k=2)
        >>> before = model(data.tokens)
        >>> with nudge(model, eigen.weight_direction(0), 0.1):
        ...     changed = model(data.tokens)
        >>> bool((changed - before).abs().max() > 1e-3), torch.equal(model(data.tokens), before)
        (True, True)
    """
    if not is_number(step):
        raise UserError(f"step = {step!r}: pass a finite number, in units of the weights.")
    adapter, weights = _read(model, direction)
    changes = {name: step * part for name, part in weights.items()}
    with _changed(adapter, changes):
        yield model


@contextmanager
def ablate(model: nn.Module, direction: Change, *, span: int | None = None) -> Iterator[nn.Module]:
    """Inside, the weights are without a direction; after, the very tensors of before are back.

    By default W - (W . u) u, over all components of the direction together. With ``span``, what
    every weight of it reads along the first singular vectors of u, and what it writes along them:
    (1 - A A^T) W (1 - B B^T), head by head; where u has fewer, along those.

    Args:
        model: a HookedTransformer or a TransformerBridge.
        direction: as for :func:`nudge`; its length does not matter.
        span: pairs of singular vectors; None for the direction alone.

    Yields:
        The model.

    Raises:
        UserError: as :func:`nudge`, and for a span of a weight that is no matrix.

    Source: this project.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model
        >>> model = build_model(ModularSettings(p=5))
        >>> direction = {"blocks.0.mlp.W_out": model.W_out[0].detach()}
        >>> with ablate(model, direction):
        ...     size = model.W_out[0].detach().norm()
        >>> bool(size < 1e-3 < model.W_out[0].detach().norm())
        True
    """
    adapter, weights = _read(model, direction)
    square = sum(float(part.double().square().sum()) for part in weights.values())
    if square == 0:
        raise UserError("the direction is zero: there is nothing to leave out.")
    if span is None:
        own = {name: weight_of(adapter, name) for name in weights}
        along = sum(float((own[name].double() * weights[name].double()).sum()) for name in weights)
        changes = {name: -along / square * part for name, part in weights.items()}
    else:
        check_at_least("span", span)
        changes = {
            name: _without_span(name, weight_of(adapter, name), part, span)
            for name, part in weights.items()
        }
    with _changed(adapter, changes):
        yield model


def _read(model: Any, direction: Any) -> tuple[TransformerAdapter, Mapping[str, Tensor]]:
    """The parts of a direction, which this model has.

    Raises:
        UserError: for what is no direction of its weights.
    """
    adapter = adapt_transformer(model)
    check_kind("direction", direction, (WeightDirection, Mapping), "eigen.weight_direction(i)")
    weights = direction.weights if isinstance(direction, WeightDirection) else dict(direction)
    if adapter.tied and {EMBEDDING, UNEMBEDDING}.intersection(weights):
        raise UserError(
            "the embedding and the unembedding are one parameter here: a step of one would be one "
            "of the other too."
        )
    return adapter, weights


def _without_span(
    name: str, weight: Float[Tensor, " ..."], u: Float[Tensor, " ..."], span: int
) -> Float[Tensor, " ..."]:
    """The change of a weight that takes the singular vectors of u out of what it reads and writes.

    Raises:
        UserError: for what is no matrix.
    """
    if weight.ndim < 2:
        raise UserError(f"{name} is no matrix, and has no span: leave span out.")
    left, values, right = torch.linalg.svd(u.double(), full_matrices=False)
    # beyond the rank of u singular vectors are any: nothing is taken out along them
    rounding = torch.finfo(torch.result_type(u, 1.0)).eps * max(u.shape[-2:]) * values[..., :1]
    there = (values > rounding)[..., None, :span]
    A, B = left[..., :span] * there, right[..., :span, :].mT * there
    wide = weight.double()
    kept = wide - A @ (A.mT @ wide)
    kept = kept - (kept @ B) @ B.mT
    return (kept - wide).to(weight)


@contextmanager
def _changed(
    adapter: TransformerAdapter, changes: Mapping[str, Float[Tensor, " ..."]]
) -> Iterator[None]:
    """Weights with something added inside; the very tensors of before after."""
    wholes: list[tuple[Site, Tensor]] = to_wholes(adapter, changes)
    kept = [(site.parameter, site.parameter.data) for site, _ in wholes]
    try:
        for site, change in wholes:
            moved = from_parameter(site) + change
            site.parameter.data = to_parameter(site, moved).to(site.parameter).contiguous()
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data
