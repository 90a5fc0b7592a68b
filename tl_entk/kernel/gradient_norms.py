"""Norms of the examples' gradients: the diagonal of a kernel that is not formed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.kernel.blocks import sites_needed
from tl_entk.kernel.gram import gram_diagonal
from tl_entk.kernel.plan import Pass, Plan, measure_work, plan_passes
from tl_entk.model.capture import frozen
from tl_entk.model.factors import collect
from tl_entk.model.request import Request
from tl_entk.model.sites import partition
from tl_entk.model.task import Task
from tl_entk.tools.matrix_products import fast_products
from tl_entk.tools.ranks import current_ranks


def squared_gradient_norms(
    request: Request,
    *,
    batch_size: int,
    memory_budget: int,
    advance: Callable[[int], None] = lambda examples: None,
) -> Float[Tensor, " n"]:
    """sum_r |dF_r(x_n)/dW|^2 of every example n, over the components W asked for.

    Args:
        request: a task, and components that are no parameter with several roles.
        batch_size: examples at a time.
        memory_budget: bytes.
        advance: called with the number of examples done.
    """
    ranks, n = current_ranks(), len(request.task)
    task = request.task.share(ranks)
    names = set(partition(request.names))
    sites = sites_needed(task.adapter, names)
    found = []
    with frozen(task.adapter.model), torch.enable_grad(), fast_products(task.inputs.device):
        work = measure_work(task, sites, request.dtype)
        for rows in torch.arange(len(task), device=task.inputs.device).split(batch_size):
            plan = plan_passes(replace(work, n=len(rows)), memory_budget)
            batch = task.take(rows)
            parts = [_one_pass(batch, plan, step, names, request) for step in plan.passes]
            found.append(torch.stack(parts).sum(0))
            advance(len(rows))
    return ranks.join(torch.cat(found), n) * task.readout.scale


def _one_pass(
    batch: Task, plan: Plan, step: Pass, names: set[str], request: Request
) -> Float[Tensor, " b"]:
    """What some sites and outputs add to the squares."""
    factors = collect(
        batch,
        step.sites,
        columns=step.columns,
        batch_size=plan.batch_size,
        dtype=request.dtype,
    )
    total = torch.zeros(len(batch), dtype=request.dtype, device=batch.inputs.device)
    for site in step.sites:
        heads = gram_diagonal(factors[site.name])
        if site.name in names:
            total += heads.sum(0)
        else:
            total += heads[[head in names for head in site.head_names]].sum(0)
    return total
