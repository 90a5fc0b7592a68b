"""How scores come from gradients: which weights, which part of the outputs, what is divided by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.eigen import EigenDirections
from tl_entk.kernel.normalize import check_normalization
from tl_entk.linearization.build_jacobian import choose_sites
from tl_entk.model.adapters import TransformerAdapter
from tl_entk.model.factors import measure_uses
from tl_entk.model.memory import examples_per_pass
from tl_entk.model.request import Request
from tl_entk.model.sites import TIED, UNEMBEDDING, Site, partition
from tl_entk.model.tables import find_first_row
from tl_entk.model.task import Task
from tl_entk.operator.whitening import whitening


@dataclass(frozen=True, eq=False)
class ScoreWork:
    """Directions of a kernel, and how an example's gradient scores along them.

    Attributes:
        adapter: the model.
        task: reads what the kernel is of.
        sites: weights, each with its name among the parameters.
        names: of the components.
        output: (r, k) the outputs' direction that scores are along; None for an N x N kernel.
        over: (k,) eigenvalues that scores are divided by.
        cosine: whether gradients have norm 1, of each site by itself or of all.
        centered: whether their mean is taken away.
        each: whether every component is normalized by itself.
    """

    adapter: TransformerAdapter
    task: Task
    sites: list[tuple[Site, str]]
    names: list[str]
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
        return len(self.over)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of gradients and scores."""
        return self.over.dtype

    def take(self, chosen: slice) -> ScoreWork:
        """The same of some of the directions."""
        output = None if self.output is None else self.output[:, chosen]
        return replace(self, output=output, over=self.over[chosen])


def find_sites(
    adapter: TransformerAdapter, task: Task, names: Sequence[str]
) -> tuple[list[tuple[Site, str]], list[str]]:
    """The weights of some components.

    Raises:
        UserError: for a parameter with two roles, and weights that what is read does not pass.
    """
    parts = partition(names)
    if TIED in parts:
        raise UserError(
            "the embedding and the unembedding are one parameter here: ask for the parts of one "
            "of them."
        )
    after = [name for name in parts if name in (UNEMBEDDING, "unembed.b_U")]
    if after and task.readout.reads == "final_hidden":
        raise UserError(
            f"{', '.join(after)} come after the final hidden vector, which is read: leave them out "
            "of the components, or take a readout of the logits ('logits', 'logsumexp', ...)."
        )
    return choose_sites(adapter, parts), parts


def first_row(work: ScoreWork) -> int:
    """The row of a table of positions that the windows begin at."""
    tables = [site for site, _ in work.sites if site.kind == "position"]
    return find_first_row(work.task, tables[0]) if tables else 0


def read_work(
    adapter: TransformerAdapter,
    request: Request,
    eigen: EigenDirections,
    normalization: str,
    each: bool,
) -> tuple[ScoreWork, Tensor]:
    """Check the directions against what is asked.

    Returns:
        How they score, and their vectors (n, k), or (n, r, k) of unwhitened outputs.

    Raises:
        UserError: if they do not belong together.
    """
    task = request.task
    sites, names = find_sites(adapter, task, request.names)
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
    work = ScoreWork(adapter, task, sites, names, output, over, kind.cosine, kind.centered, each)
    return work, vectors


def split_directions(work: ScoreWork, budget: int) -> list[slice]:
    """As many directions at a time as a quarter of the budget has room for in the weights.

    Args:
        work: all directions.
        budget: bytes.
    """
    size = sum(site.parameter.numel() for site, _ in work.sites) * work.dtype.itemsize
    several = max(1, budget // 4 // max(1, size))
    return [
        slice(start, min(start + several, work.directions))
        for start in range(0, work.directions, several)
    ]


def batch_size(work: ScoreWork, budget: int) -> int:
    """Examples in a forward pass such that graph and factors take a part of the budget.

    Args:
        work: the directions.
        budget: bytes.
    """
    uses, outputs = measure_uses(work.task, [site for site, _ in work.sites])
    outputs = work.directions if work.flattened else outputs
    factors = sum(uses[site.name] * (site.d_in + outputs * site.d_out) for site, _ in work.sites)
    floats = max(work.task.example_floats(uses), 3 * factors)
    itemsize = work.adapter.dtype.itemsize
    return examples_per_pass(len(work.task), floats, itemsize, budget // 2)
