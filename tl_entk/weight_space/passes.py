"""The passes that take scores apart: J^T v of every weight, then J_n u position by position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_entk.kernel.gram import gram_diagonal
from tl_entk.kernel.normalize import norms_of
from tl_entk.linearization.build_jacobian import map_site
from tl_entk.model.factors import Direct, Factors, OneHot, Outer, collect
from tl_entk.model.readouts import BoundReadout, Rows
from tl_entk.model.task import Task
from tl_entk.weight_space.work import ScoreWork


def _read_along(work: ScoreWork, vectors: Tensor) -> Task:
    """The task, with the outputs' part along each direction read: the same for all, or each its."""

    def read(values: Tensor, rows: Rows) -> Tensor:
        outputs = work.task.readout.outputs(values, rows).to(vectors)
        return outputs @ vectors if vectors.ndim == 2 else _times(outputs, vectors[rows])

    bound = BoundReadout("along directions", work.task.readout.reads, 1.0, read)
    return replace(work.task, readout=bound)


def _times(outputs: Float[Tensor, "b r"], vectors: Float[Tensor, "b r k"]) -> Tensor:
    return torch.einsum("br,brk->bk", outputs, vectors)


def _factors(
    work: ScoreWork, task: Task, rows: Int[Tensor, " n"], batch: int, advance: Any
) -> Iterator[tuple[Int[Tensor, " b"], dict[str, Factors]]]:
    """Factors of some examples after others; of a kernel of cosines, of gradients of norm 1."""
    device = task.inputs.device
    sites = [site for site, _ in work.sites]
    for part in rows.split(batch):
        some = task.take(part.to(device))
        found = collect(
            some, sites, columns=slice(None), batch_size=len(part), dtype=work.dtype, every_use=True
        )
        chosen = {
            site.name: map_site(site, key, work.names, found[site.name], 1).factors
            for site, key in work.sites
        }
        yield part.to(device), _normalize(work, chosen) if work.cosine else chosen
        advance(len(part))


def gather(
    work: ScoreWork, vectors: Float[Tensor, "n *r k"], batch: int, advance: Any
) -> dict[str, Tensor]:
    """Sum_n v_n J_n of every site.

    Args:
        work: the directions.
        vectors: theirs.
        batch: examples in a forward pass.
        advance: called with the number of examples done.

    Returns:
        Site to (k, ...), a direction of the weight for each of k.
    """
    task = _read_along(work, vectors) if work.flattened else work.task
    total: dict[str, Tensor] = {}
    of = {site.name: site for site, _ in work.sites}
    for rows, factors in _factors(work, task, torch.arange(len(task)), batch, advance):
        for name, one in factors.items():
            weights = None if work.flattened else vectors[rows]
            found = _add_examples(one, weights, work.directions, len(of[name].parameter))
            total[name] = total[name] + found if name in total else found
    return total


def _normalize(work: ScoreWork, factors: Mapping[str, Factors]) -> dict[str, Factors]:
    """The factors of gradients of norm 1: of each component by itself, or of all together."""
    scale = work.task.readout.scale
    squares = {name: scale * gram_diagonal(one) for name, one in factors.items()}
    together = torch.cat(list(squares.values())).sum(0, keepdim=True)
    found = {}
    for site, _ in work.sites:
        own = squares[site.name]
        if not work.each:
            own = together
        elif not set(work.names).intersection(site.head_names):
            own = own.sum(0, keepdim=True)  # else each head is a component
        by = torch.stack([1 / norms_of(one) for one in own])
        found[site.name] = _multiply(factors[site.name], by)
    return found


def _multiply(factors: Factors, by: Float[Tensor, "h n"]) -> Factors:
    """Factors of each example's gradient times a number, for every head or for all alike."""
    match factors:
        case Outer(x, g):
            return Outer(x, g * by[:, None, :, None])
        case OneHot(tokens, g):
            return OneHot(tokens, g * by[0][:, None])
        case Direct(v):
            return Direct(v * by[..., None])


def _add_examples(
    factors: Factors, weights: Float[Tensor, "n k"] | None, k: int, vocabulary: int
) -> Float[Tensor, "k ..."]:
    """sum_n w_n J_n, a direction of the weight for each of k; weights lie in g where None."""
    match factors:
        case Outer(x, g):
            heads = max(len(x), len(g))
            x, g = x.expand(heads, -1, -1, -1), g.expand(heads, -1, -1, -1)
            if weights is None:
                return torch.einsum("htnp,htnkq->khpq", x, g.unflatten(-1, (k, -1)))
            return torch.stack(
                [torch.einsum("htnp,htnq->hpq", x, g * w[:, None]) for w in weights.T]
            )
        case OneHot(tokens, g):
            spread = (
                g.unflatten(-1, (k, -1)) if weights is None else g[:, :, None] * weights[..., None]
            )
            into = g.new_zeros(vocabulary, k, spread.shape[-1])
            flat = tokens.T.flatten().long()
            return into.index_add_(0, flat, spread.flatten(0, 1)).transpose(0, 1)
        case Direct(v):
            if weights is None:
                return torch.einsum("hnkd->khd", v.unflatten(-1, (k, -1)))
            return torch.einsum("hnd,nk->khd", v, weights)


def take_apart(
    work: ScoreWork,
    weights: Mapping[str, Tensor],
    rows: Int[Tensor, " b"],
    batch: int,
    advance: Any,
) -> tuple[Float[Tensor, "b t k"], Float[Tensor, "b k"]]:
    """J_n u over the eigenvalue, position by position, and what has no position.

    Args:
        work: the directions.
        weights: of :func:`gather`.
        rows: examples whose scores are taken apart.
        batch: examples in a forward pass.
        advance: called with the number of examples done.

    Returns:
        (b, t, k) and (b, k).
    """
    task = work.task if work.output is None else _read_along(work, work.output)
    length, k = work.task.inputs.shape[1], work.directions
    values = work.over.new_zeros(len(rows), length, k)
    elsewhere = torch.zeros_like(values[:, 0])
    done = 0
    for part, factors in _factors(work, task, rows, batch, advance):
        into = slice(done, done + len(part))
        done += len(part)
        for name, one in factors.items():
            found = _by_use(one, weights[name], k, work.flattened)
            uses = found.shape[1]
            found = (found / work.over[:, None, None]).permute(2, 1, 0)
            if isinstance(one, Direct) or uses % length:
                elsewhere[into] += found.sum(1)
            else:  # a weight that is used several times has its uses one after the other
                values[into] += found.unflatten(1, (-1, length)).sum(1)
    return values.cpu(), elsewhere.cpu()


def _by_use(
    factors: Factors, U: Float[Tensor, "k ..."], k: int, flattened: bool
) -> Float[Tensor, "k uses n"]:
    """What every use of a weight adds to J_n u."""
    found = []
    for i in range(k):
        match factors:
            case Outer(x, g):
                g = g.unflatten(-1, (k, -1))[..., i, :] if flattened else g
                y = x @ U[i][:, None]
                found.append((y * g).sum((0, 3)))
            case OneHot(tokens, g):
                g = g.unflatten(-1, (k, -1))[..., i, :] if flattened else g
                found.append((U[i][tokens.T.long()] * g).sum(2))
            case Direct(v):
                v = v.unflatten(-1, (k, -1))[..., i, :] if flattened else v
                found.append((v * U[i][:, None]).sum((0, 2))[None])
    return torch.stack(found)
