"""The compressed Jacobian of every kernel, from one set of backward passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from tl_entk.compressed.boundaries import room_for_tensors
from tl_entk.compressed.plan import plan_collection
from tl_entk.linearization.build_jacobian import map_site
from tl_entk.linearization.jacobian import Jacobian
from tl_entk.model.capture import frozen
from tl_entk.model.factors import Factors
from tl_entk.model.staged_factors import collect_stages
from tl_entk.model.task import Task
from tl_entk.tools.progress import Progress
from tl_entk.tools.ranks import current_ranks


def compressed_jacobians(
    task: Task,
    kernels: Mapping[str, list[str]],
    *,
    dtype: torch.dtype,
    memory_budget: int,
    progress: bool = False,
) -> Iterator[tuple[str, Jacobian]]:
    """The Jacobian of each kernel, as soon as its last weight's factors are there.

    Where examples are split over processes, of this process's.

    Args:
        task: model, examples, and the few outputs to be read.
        kernels: name to the components that it is of.
        dtype: number format of the factors.
        memory_budget: bytes.
        progress: show a bar.

    Raises:
        UserError: if a weight's factors do not fit the budget.
    """
    ranks = current_ranks()
    # every process by the same plan: it waits for the others after each kernel
    planned, task = task.share(ranks, 0), task.share(ranks)
    n, progress = len(task), progress and ranks.first
    with frozen(task.adapter.model), torch.enable_grad():
        plan = plan_collection(planned, kernels, dtype=dtype, memory_budget=memory_budget)
        outputs = plan.outputs
        waiting = {name: {site.name for site, _ in found} for name, found in plan.chosen.items()}
        held: dict[str, Factors] = {}
        bar = Progress("backward passes", len(plan.stages) * outputs * n, progress)
        with bar, room_for_tensors(on_disk=plan.on_disk) as room_for:
            for found in collect_stages(
                task,
                plan.stages,
                outputs=outputs,
                batch_size=plan.batch_size,
                dtype=dtype,
                advance=bar.advance,
                room_for=room_for,
            ):
                held |= found
                for name in [name for name, needed in waiting.items() if needed <= held.keys()]:
                    del waiting[name]
                    maps = [
                        map_site(site, key, kernels[name], held[site.name], outputs)
                        for site, key in plan.chosen[name]
                    ]
                    scale = torch.full((n, outputs), task.readout.scale**0.5, dtype=dtype)
                    scale = scale.to(task.inputs.device)
                    yield name, Jacobian(tuple(maps), n, outputs, memory_budget, scale)
                    del maps
                wanted = {site for needed in waiting.values() for site in needed}
                held = {name: factors for name, factors in held.items() if name in wanted}
                del found  # before the next stage's factors come
