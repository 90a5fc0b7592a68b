"""Directions whose scores are taken apart by position: which weights, which part of the outputs."""

from __future__ import annotations

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
from tl_entk.model.sites import TIED, Site, partition
from tl_entk.model.task import Task
from tl_entk.operator.whitening import whitening


@dataclass(frozen=True, eq=False)
class ContributionWork:
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


def read_work(
    adapter: TransformerAdapter,
    request: Request,
    eigen: EigenDirections,
    normalization: str,
    each: bool,
) -> ContributionWork:
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
    return ContributionWork(
        adapter,
        task, choose_sites(task.adapter, names), names, vectors, output, over, kind.cosine,
        kind.centered, each,
    )  # fmt: skip


def split_directions(work: ContributionWork, budget: int) -> list[ContributionWork]:
    """As many directions at a time as a quarter of the budget has room for in the weights.

    Args:
        work: all directions.
        budget: bytes.
    """
    size = sum(site.parameter.numel() for site, _ in work.sites) * work.vectors.element_size()
    several = max(1, budget // 4 // max(1, size))
    groups = []
    for chosen in torch.arange(work.directions).split(several):
        part = slice(int(chosen[0]), int(chosen[-1]) + 1)
        output = None if work.output is None else work.output[:, part]
        vectors, over = work.vectors[..., part], work.over[part]
        groups.append(replace(work, vectors=vectors, output=output, over=over))
    return groups


def batch_size(work: ContributionWork, request: Request, budget: int) -> int:
    """Examples in a forward pass such that graph and factors take a part of the budget.

    Args:
        work: the directions.
        request: whose examples they are.
        budget: bytes.
    """
    uses, outputs = measure_uses(work.task, [site for site, _ in work.sites])
    outputs = work.directions if work.flattened else outputs
    factors = sum(uses[site.name] * (site.d_in + outputs * site.d_out) for site, _ in work.sites)
    floats = max(work.task.example_floats(uses), 3 * factors)
    itemsize = work.adapter.dtype.itemsize
    return examples_per_pass(len(request.task), floats, itemsize, budget // 2)
