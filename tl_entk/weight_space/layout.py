"""Directions of weights in TransformerLens' shapes, and in the parameters' own.

TransformerLens has a weight of heads as (heads, d_in, d_out); a bridge keeps it as ``nn.Linear``
does, (heads d_out, d_in). A direction has TransformerLens' shape for either class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.adapters import TransformerAdapter
from tl_entk.model.sites import Site, parents

# heads of a weight as parts of one axis
_SIDE_BY_SIDE = {"input": "(h i) o", "output": "i (h o)"}


def name_components(
    sites: Sequence[Site],
    names: Sequence[str],
    gathered: Mapping[str, Float[Tensor, "k ..."]],
    first: int = 0,
) -> dict[str, Float[Tensor, "k ..."]]:
    """The gathered gradients of sites by component, each in TransformerLens' shape.

    Args:
        sites: theirs.
        names: of the components; head slices of one site are apart in the result.
        gathered: site to (k, heads, ...), of the heads asked for.
        first: row of a table of positions that the first position reads.
    """
    found: dict[str, Tensor] = {}
    for site in sites:
        several = gathered[site.name]
        heads = [name for name in site.head_names if name in names]
        if heads:
            found |= dict(zip(heads, several.unbind(1), strict=True))
        else:
            found[site.name] = _whole(site, several, first)
    return {name: found[name] for name in names}


def _whole(site: Site, several: Float[Tensor, "k ..."], first: int) -> Float[Tensor, "k ..."]:
    """A whole weight's directions in TransformerLens' shape."""
    match site.kind:
        case "embedding":
            return several
        case "position":
            rows = several.reshape(len(several), -1, site.d_out)
            table = rows.new_zeros(len(rows), len(site.parameter), site.d_out)
            table[:, first : first + rows.shape[1]] = rows
            return table
        case _:
            return several if site.heads else several[:, 0]


def in_site(
    site: Site, weights: Mapping[str, Float[Tensor, "k ..."]], rows: slice
) -> Float[Tensor, "k ..."]:
    """Directions of one site as its gradients lie: with an axis of heads, or of one.

    Args:
        site: the weight.
        weights: component to directions.
        rows: of a table of positions, that the windows read.
    """
    heads = [name for name in site.head_names if name in weights]
    if heads:
        return torch.stack([weights[name] for name in heads], 1)
    whole = weights[site.name]
    if site.kind == "position":
        return whole[:, rows].flatten(1)[:, None]
    return whole if site.heads or site.kind == "embedding" else whole[:, None]


def to_parameter(site: Site, whole: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
    """A whole weight's direction in its parameter's own layout.

    Args:
        site: the weight.
        whole: in TransformerLens' shape.
    """
    shape = site.parameter.shape
    if site.kind != "linear" or len(shape) == 3:
        return whole.reshape(shape)
    whole = to_matrix(site, whole)
    return whole.T if isinstance(site.output.module, nn.Linear) else whole


def to_matrix(site: Site, whole: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
    """A whole weight's direction with its heads side by side, as a matrix product takes it.

    Args:
        site: the weight.
        whole: in TransformerLens' shape.
    """
    if site.heads is None:
        return whole
    if site.kind == "bias":
        return whole.flatten()
    return rearrange(whole, f"h i o -> {_SIDE_BY_SIDE[site.heads.along]}")


def from_parameter(site: Site) -> Float[Tensor, " ..."]:
    """A whole weight in TransformerLens' shape, from its parameter."""
    own = site.parameter.detach()
    if site.kind == "bias" and site.heads is not None:
        return own.reshape(site.heads.count, -1)
    if site.kind != "linear" or own.ndim == 3:
        return own
    own = own.T if isinstance(site.output.module, nn.Linear) else own
    if site.heads is None:
        return own
    order = _SIDE_BY_SIDE[site.heads.along]
    return rearrange(own, f"{order} -> h i o", h=site.heads.count)


def weight_of(adapter: TransformerAdapter, name: str) -> Float[Tensor, " ..."]:
    """A component in TransformerLens' shape."""
    site, head = find_site(adapter, name)
    whole = from_parameter(site)
    return whole if head is None else whole[head]


def find_site(adapter: TransformerAdapter, name: str) -> tuple[Site, int | None]:
    """The weight of a component, and which head of it where it is one.

    Raises:
        UserError: if the model has no such component.
    """
    if name in adapter.by_name:
        return adapter.by_name[name], None
    for parent in parents(name):
        site = adapter.by_name.get(parent)
        if site is not None and name in site.head_names:
            return site, site.head_names.index(name)
    raise UserError(
        f"the model has no component {name!r}: pass a direction of this model's weights."
    )


def to_wholes(
    adapter: TransformerAdapter, weights: Mapping[str, Float[Tensor, " ..."]]
) -> list[tuple[Site, Float[Tensor, " ..."]]]:
    """Changes of components as changes of whole weights, heads of one weight together.

    Raises:
        UserError: for a component that the model lacks, or has in another shape.
    """
    wholes: dict[str, Tensor] = {}
    for name, change in weights.items():
        site, head = find_site(adapter, name)
        own = weight_of(adapter, name)
        if change.shape != own.shape:
            raise UserError(
                f"the direction of {name} has shape {tuple(change.shape)}, the weight "
                f"{tuple(own.shape)}: pass a direction of this model's weights."
            )
        if site.name not in wholes:
            wholes[site.name] = torch.zeros_like(from_parameter(site))
        into = wholes[site.name] if head is None else wholes[site.name][head]
        into += change.to(into)
    return [(adapter.by_name[name], whole) for name, whole in wholes.items()]
