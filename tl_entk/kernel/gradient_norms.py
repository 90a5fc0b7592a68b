"""Norms of the examples' gradients: the diagonal of a kernel that is not formed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.kernel.blocks import sites_needed
from tl_entk.kernel.gram import gram_diagonal
from tl_entk.kernel.plan import Work, plan_passes
from tl_entk.model.capture import frozen
from tl_entk.model.factors import collect, measure_uses
from tl_entk.model.request import Request
from tl_entk.model.sites import partition


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
    task, names = request.task, set(partition(request.names))
    sites = sites_needed(task.adapter, names)
    found = []
    with frozen(task.adapter.model), torch.enable_grad():
        uses, outputs = measure_uses(task, sites)
        floats = task.example_floats(uses)
        for rows in torch.arange(len(task), device=task.inputs.device).split(batch_size):
            itemsize = request.dtype.itemsize
            work = Work(tuple(sites), uses, len(rows), outputs, floats, itemsize)
            plan = plan_passes(work, memory_budget)
            batch, total = task.take(rows), torch.zeros(len(rows), dtype=request.dtype)
            total = total.to(task.inputs.device)
            for step in plan.passes:
                factors = collect(
                    batch,
                    step.sites,
                    columns=step.columns,
                    batch_size=plan.batch_size,
                    dtype=request.dtype,
                )
                for site in step.sites:
                    heads = gram_diagonal(factors[site.name])
                    if site.name in names:
                        total += heads.sum(0)
                    else:
                        total += sum(
                            heads[h] for h, head in enumerate(site.head_names) if head in names
                        )
            found.append(total)
            advance(len(rows))
    return torch.cat(found) * task.readout.scale
