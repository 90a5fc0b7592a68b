"""What each position of a window contributes to a direction's score, exactly.

An eigenvector v of a kernel J J^T is a direction of the weights too, u = J^T v. The score of window
n is J_n u over the eigenvalue, and the gradient J_n of a weight is a sum over the positions where
it is used; so the score is a sum over positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.eigen import EigenDirections
from tl_entk.kernel.gram import gram_diagonal
from tl_entk.kernel.normalize import check_normalization, norms_of
from tl_entk.linearization.build_jacobian import choose_sites, map_site
from tl_entk.model.adapters import TransformerAdapter, adapt_transformer
from tl_entk.model.capture import frozen
from tl_entk.model.checks import Position
from tl_entk.model.factors import Direct, Factors, OneHot, Outer, collect, measure_uses
from tl_entk.model.memory import check_memory_budget, examples_per_pass
from tl_entk.model.readouts import FINAL_HIDDEN, BoundReadout, ReadoutLike, Rows
from tl_entk.model.request import Request, Task, read_request
from tl_entk.model.sites import TIED, Components, Site, partition
from tl_entk.operator.build import check_readout
from tl_entk.operator.whitening import whitening
from tl_entk.tools.matrix_products import fast_products
from tl_entk.tools.progress import Progress


@dataclass(frozen=True, eq=False)
class PositionContributions:
    """Scores of windows taken apart.

    Attributes:
        values: (b, t, k), what each position contributes.
        elsewhere: (b, k), what weights contribute whose use has no position of its own: biases,
            norms and position embeddings.
        offset: (k,), what is added to all windows alike: of a centered kernel, less the mean.
    """

    values: Float[Tensor, "b t k"]
    elsewhere: Float[Tensor, "b k"]
    offset: Float[Tensor, " k"]

    @property
    def scores(self) -> Float[Tensor, "b k"]:
        """The scores that they add up to."""
        return self.values.sum(1) + self.elsewhere + self.offset


def position_contributions(
    model: Any,
    tokens: Int[Tensor, "n t"],
    components: Components,
    eigen: EigenDirections,
    *,
    readout: ReadoutLike = FINAL_HIDDEN,
    position: Position = -1,
    normalization: str = "plain",
    each_component: bool = False,
    rows: Int[Tensor, " b"] | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
) -> PositionContributions:
    """Take the scores of windows apart by position.

    Args:
        model: the one that the directions are of.
        tokens: (n, t) windows that the directions are of.
        components: weights that the kernel is of.
        eigen: directions of their kernel, with this readout.
        readout: as the directions were made: "final_hidden" for those of all logits, a readout of
            one number, or class traces.
        position: as they were made.
        normalization: of the kernel, as they were made.
        each_component: every component's kernel was normalized before it was added.
        rows: windows whose scores are taken apart; default all.
        memory_budget: bytes (default 4 GiB).
        progress: show a bar.

    Raises:
        UserError: for directions of other windows or of another readout, and for components that
            this does not hold for.

    Source: this project; for u see arXiv 2510.00468, section 2.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> from tl_entk.operator.top_directions import top_eigendirections
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> eigen = top_eigendirections(model, data.tokens, "blocks.0.attn.W_V", 2, tol=1e-6)
        >>> parts = position_contributions(model, data.tokens, "blocks.0.attn.W_V", eigen)
        >>> tuple(parts.values.shape), bool((parts.scores - eigen.scores).abs().max() < 1e-4)
        ((25, 3, 2), True)
    """
    adapter = adapt_transformer(model)
    read = check_readout(readout) if readout == FINAL_HIDDEN else readout
    request = read_request(adapter, tokens, components, read, position=position)
    work = _read_work(adapter, request, eigen, normalization, each_component)
    everything = torch.arange(len(tokens))
    chosen = everything if rows is None else rows
    # of a centered kernel, the mean over all windows is needed too
    visited = everything if work.centered else chosen
    budget = check_memory_budget(memory_budget)
    groups = _split_directions(work, budget)
    total = len(groups) * (len(tokens) + len(visited))
    found = []
    with (
        frozen(adapter.model),
        torch.enable_grad(),
        fast_products(request.task.inputs.device),
        Progress("token contributions", total, progress) as bar,
    ):
        for group in groups:
            batch = _batch_size(group, request, budget)
            weights = _gather(group, batch, bar.advance)
            found.append(_take_apart(group, weights, visited, batch, bar.advance))
    values = torch.cat([values for values, _ in found], 2)
    elsewhere = torch.cat([elsewhere for _, elsewhere in found], 1)
    offset = torch.zeros_like(elsewhere[0])
    if work.centered:
        offset = -(values.sum(1) + elsewhere).mean(0)
        values, elsewhere = values[chosen], elsewhere[chosen]
    return PositionContributions(values, elsewhere, offset)


@dataclass(frozen=True, eq=False)
class _Work:
    """Directions, and how their scores come from gradients.

    Attributes:
        adapter: the model.
        task: reads what the kernel is of.
        sites: weights, each with its name among the parameters.
        names: of the components.
        vectors: (n, k), or (n, r, k) of unwhitened outputs.
        output: (r, k) the outputs' direction that scores are along; None for an N x N kernel.
        over: (k,) eigenvalues that scores are divided by.
        cosine: whether gradients have norm 1, of each site by itself or of all.
        centered: whether their mean is taken away.
        each: whether every site is normalized by itself.
    """

    adapter: TransformerAdapter
    task: Task
    sites: list[tuple[Site, str]]
    names: list[str]
    vectors: Tensor
    output: Tensor | None
    over: Float[Tensor, " k"]
    cosine: bool
    centered: bool
    each: bool

    @property
    def flattened(self) -> bool:
        """Whether every output of an example has a row."""
        return self.output is not None

    @property
    def directions(self) -> int:
        """How many there are."""
        return self.vectors.shape[-1]


def _read_work(
    adapter: TransformerAdapter,
    request: Request,
    eigen: EigenDirections,
    normalization: str,
    each: bool,
) -> _Work:
    """Check the directions against what is asked.

    Raises:
        UserError: if they do not belong together.
    """
    task, names = request.task, partition(request.names)
    if TIED in names:
        raise UserError(
            "the embedding and the unembedding are one parameter here: ask for the parts of one "
            "of them."
        )
    if len(eigen.scores) != len(task):
        raise UserError(
            f"directions of {len(eigen.scores)} examples and {len(task)} windows: pass the windows "
            "that they were made of."
        )
    flattened = eigen.vectors.ndim == 3
    if flattened != (eigen.space != "examples") or flattened != task.readout.flattened:
        raise UserError(
            f"directions in the space {eigen.space!r} are not of readout {task.readout.name!r}: "
            "pass the readout that they were made with."
        )
    kind, device = check_normalization(normalization), task.inputs.device
    if kind.cosine and flattened:
        raise UserError(
            "of normalized kernels of all logits scores are not taken apart: pass directions of "
            "the plain or the centered one."
        )
    vectors, output = eigen.vectors.to(device, request.dtype), None
    if flattened:
        root = torch.eye(vectors.shape[1], device=device, dtype=request.dtype)
        if eigen.space == "final_hidden":
            root = whitening(adapter.unembedding).root.to(root)
        along = torch.einsum("nrk,nk->rk", vectors, eigen.scores.to(vectors))
        output = root @ (along / along.norm(dim=0).clamp_min(torch.finfo(along.dtype).tiny))
        vectors = torch.einsum("rs,nsk->nrk", root, vectors)
    over = eigen.eigenvalues.to(device, request.dtype) / task.readout.scale
    if bool((over <= 0).any()):
        raise UserError("a direction has eigenvalue 0: leave it out (eigen.take).")
    return _Work(
        adapter,
        task, choose_sites(task.adapter, names), names, vectors, output, over, kind.cosine,
        kind.centered, each,
    )  # fmt: skip


def _split_directions(work: _Work, budget: int) -> list[_Work]:
    """As many directions at a time as a quarter of the budget has room for in the weights."""
    size = sum(site.parameter.numel() for site, _ in work.sites) * work.vectors.element_size()
    several = max(1, budget // 4 // max(1, size))
    groups = []
    for chosen in torch.arange(work.directions).split(several):
        part = slice(int(chosen[0]), int(chosen[-1]) + 1)
        output = None if work.output is None else work.output[:, part]
        vectors, over = work.vectors[..., part], work.over[part]
        groups.append(replace(work, vectors=vectors, output=output, over=over))
    return groups


def _batch_size(work: _Work, request: Request, budget: int) -> int:
    """Examples in a forward pass such that graph and factors take a part of the budget."""
    uses, outputs = measure_uses(work.task, [site for site, _ in work.sites])
    outputs = work.directions if work.flattened else outputs
    factors = sum(uses[site.name] * (site.d_in + outputs * site.d_out) for site, _ in work.sites)
    floats = max(work.task.example_floats(uses), 3 * factors)
    itemsize = work.adapter.dtype.itemsize
    return examples_per_pass(len(request.task), floats, itemsize, budget // 2)


def _read_along(work: _Work, vectors: Tensor) -> Task:
    """The task, with the outputs' part along each direction read: the same for all, or each its."""

    def read(values: Tensor, rows: Rows) -> Tensor:
        outputs = work.task.readout.outputs(values, rows).to(vectors)
        return outputs @ vectors if vectors.ndim == 2 else _times(outputs, vectors[rows])

    bound = BoundReadout("along directions", work.task.readout.reads, 1.0, read)
    return replace(work.task, readout=bound)


def _times(outputs: Float[Tensor, "b r"], vectors: Float[Tensor, "b r k"]) -> Tensor:
    return torch.einsum("br,brk->bk", outputs, vectors)


def _factors(
    work: _Work, task: Task, rows: Int[Tensor, " n"], batch: int, advance: Any
) -> Iterator[tuple[Int[Tensor, " b"], dict[str, Factors]]]:
    """Factors of some examples after others."""
    device = task.inputs.device
    sites = [site for site, _ in work.sites]
    dtype = work.vectors.dtype
    for part in rows.split(batch):
        some = task.take(part.to(device))
        found = collect(
            some, sites, columns=slice(None), batch_size=len(part), dtype=dtype, every_use=True
        )
        yield (
            part.to(device),
            {
                site.name: map_site(site, key, work.names, found[site.name], 1).factors
                for site, key in work.sites
            },
        )
        advance(len(part))


def _gather(work: _Work, batch: int, advance: Any) -> dict[str, Tensor]:
    """Sum_n v_n J_n of every site, (k, ...)."""
    task = _read_along(work, work.vectors) if work.flattened else work.task
    total: dict[str, Tensor] = {}
    for rows, factors in _factors(work, task, torch.arange(len(task)), batch, advance):
        scales = _scales(work, factors, len(rows))
        for name, one in factors.items():
            weights = None if work.flattened else work.vectors[rows] * scales[name][:, None]
            found = _add_examples(one, weights, work.directions, work.adapter.vocabulary)
            total[name] = total[name] + found if name in total else found
    return total


def _scales(work: _Work, factors: Mapping[str, Factors], n: int) -> dict[str, Float[Tensor, " b"]]:
    """What the gradient of each of n examples is multiplied by."""
    if not work.cosine:
        return dict.fromkeys(factors, work.vectors.new_ones(n))
    scale = work.task.readout.scale
    squares = {name: scale * gram_diagonal(one).sum(0) for name, one in factors.items()}
    if not work.each:
        squares = dict.fromkeys(factors, torch.stack(list(squares.values())).sum(0))
    return {name: 1 / norms_of(found) for name, found in squares.items()}


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


def _take_apart(
    work: _Work,
    weights: Mapping[str, Tensor],
    rows: Int[Tensor, " b"],
    batch: int,
    advance: Any,
) -> tuple[Float[Tensor, "b t k"], Float[Tensor, "b k"]]:
    """J_n u over the eigenvalue, position by position, and what has no position."""
    task = work.task if work.output is None else _read_along(work, work.output)
    length, k = work.task.inputs.shape[1], work.directions
    values = work.vectors.new_zeros(len(rows), length, k)
    elsewhere = torch.zeros_like(values[:, 0])
    done = 0
    for part, factors in _factors(work, task, rows, batch, advance):
        into = slice(done, done + len(part))
        done += len(part)
        scales = _scales(work, factors, len(part))
        for name, one in factors.items():
            found = _by_use(one, weights[name], k, work.flattened) * scales[name]
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
